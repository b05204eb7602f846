"""From a picture to the input of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import floor

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from dat_cli.catalog import Preprocessing
from dat_cli.data.augment import distortions, erasures
from dat_cli.data.geometry import covering, middle_part

Transform = Callable[[Image.Image], Tensor]

_USUAL_CROP = 0.875  # of each side, as for 224 of 256 pixels


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """The whole picture or its centre, as timm's ``pretrained_cfg`` means the same values.

    Returns:
        A function from an RGB picture of any size to a (C, H, W) float32 tensor.
    """
    return v2.Compose([_resize(preprocessing), v2.CenterCrop(preprocessing.input_size[1:]), *_to_input(preprocessing)])


def crops_transform(preprocessing: Preprocessing) -> Transform:
    """The four corners and the centre of the picture, resized as for evaluation.

    Where evaluation sees the whole picture, so that there are no corners, it is made larger first: by 1 / 0.875, as
    is usual.

    Returns:
        A function from an RGB picture of any size to a (5, C, H, W) float32 tensor.
    """
    if preprocessing.crop_pct == 1:
        preprocessing = replace(preprocessing, crop_pct=_USUAL_CROP)
    crops = v2.FiveCrop(preprocessing.input_size[1:])
    return v2.Compose([_resize(preprocessing), crops, _EachToInput(preprocessing)])


def train_transform(
    preprocessing: Preprocessing,
    *,
    crop_scale: tuple[float, float],
    flip: float,
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
    auto_augment: str | None = None,
    color_jitter: float = 0.0,
    erasing: float = 0.0,
) -> Transform:
    """A random part of the picture, perhaps mirrored, distorted, recoloured and with a hole in it.

    Args:
        preprocessing: Size, mean, standard deviation and filter; the crop is random instead.
        crop_scale: Smallest and largest part of the picture's area.
        flip: Probability of a mirrored picture.
        crop_ratio: Smallest and largest width of the part in relation to its height.
        auto_augment: Policy in timm's words, such as ``rand-m9-mstd0.5-inc1``; None for none.
        color_jitter: Strength of random brightness, contrast and saturation. As in timm it has no effect beside
            ``auto_augment`` (but for its policies 3a), which changes colours itself.
        erasing: Probability that a rectangle of the picture becomes noise.

    Returns:
        A function from an RGB picture of any size to a (C, H, W) float32 tensor.

    Raises:
        UsageError: timm has no such policy.
    """
    size = preprocessing.input_size[1:]
    mode = _interpolation(preprocessing)
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=crop_scale, ratio=crop_ratio, interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(flip),
            *distortions(preprocessing, auto_augment=auto_augment, color_jitter=color_jitter),
            *_to_input(preprocessing),
            *erasures(erasing),
        ]
    )


def _resize(preprocessing: Preprocessing) -> nn.Module:
    """To a size of which the network is given a part."""
    _, height, width = preprocessing.input_size
    scaled = (floor(height / preprocessing.crop_pct), floor(width / preprocessing.crop_pct))
    if preprocessing.crop_mode == "squash":
        return v2.Resize(scaled, interpolation=_interpolation(preprocessing), antialias=True)
    return _Cover(preprocessing)


def _interpolation(preprocessing: Preprocessing) -> InterpolationMode:
    return InterpolationMode(preprocessing.interpolation)


def _to_input(preprocessing: Preprocessing) -> list[nn.Module]:
    grey: list[nn.Module] = [v2.Grayscale(1)] if preprocessing.input_size[0] == 1 else []
    return [
        *grey,
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=list(preprocessing.mean), std=list(preprocessing.std)),
        v2.ToPureTensor(),
    ]


class _EachToInput(nn.Module):
    """Several pictures of one size to (N, C, H, W)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.to_input = v2.Compose(_to_input(preprocessing))

    def forward(self, pictures: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.to_input(picture) for picture in pictures])


class _Cover(nn.Module):
    """Resize so that a size is just covered and the aspect ratio stays."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.filter = Image.Resampling[preprocessing.interpolation.upper()]

    def forward(self, image: Image.Image) -> Image.Image:
        part = middle_part(image.size)
        if part != (0, 0, *image.size):
            image = image.crop(part)
        return image.resize(covering(image.size, self.preprocessing), self.filter)
