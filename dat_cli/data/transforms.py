"""From a picture to the input of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from dat_cli.catalog import Preprocessing
from dat_cli.data.augment import distortions, erasures
from dat_cli.data.crop import Crop, RandomResizedCrop, cut
from dat_cli.data.geometry import covering, middle_part
from dat_cli.data.image import load_enough, load_image
from dat_cli.data.normalize import Normalize

Transform = Callable[[Image.Image], Tensor]

_USUAL_CROP = 0.875  # of each side, as for 224 of 256 pixels


def read(source: Path | BinaryIO | Image.Image, transform: Transform, name: str | None = None) -> Tensor:
    """Decode a picture and transform it; for training no more is decoded than its random part needs.

    Args:
        source: A path, a file opened for reading bytes, or a picture that is decoded already.
        transform: From a picture to a (C, H, W) tensor.
        name: What to call the picture in an error; by default its path.

    Raises:
        DataError: It cannot be read or decoded; names it and says why.
    """
    if isinstance(source, Image.Image):
        return transform(source)
    if isinstance(transform, TrainTransform):
        return transform.after_crop(cut(*load_enough(source, transform.choose, name)))
    return transform(load_image(source, name))


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
) -> TrainTransform:
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
    return TrainTransform(
        [
            RandomResizedCrop(size, scale=crop_scale, ratio=crop_ratio, interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(flip),
            *distortions(preprocessing, auto_augment=auto_augment, color_jitter=color_jitter),
            *_to_input(preprocessing),
            *erasures(erasing),
        ]
    )


class TrainTransform(v2.Compose):  # type: ignore[misc]  # torchvision has no types
    """A random part of a picture, and what is done with it afterwards."""

    def choose(self, size: tuple[int, int]) -> Crop:
        """The random part of a picture of (width, height)."""
        crop: RandomResizedCrop = self.transforms[0]
        return crop.choose(size)

    def after_crop(self, part: Image.Image) -> Tensor:
        """From the part to a (C, H, W) float32 tensor."""
        result: Any = part
        for transform in self.transforms[1:]:
            result = transform(result)
        return result


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
        Normalize(preprocessing.mean, preprocessing.std),
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
