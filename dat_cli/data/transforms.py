"""From a picture to the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from dat_cli.catalog import Preprocessing
from dat_cli.data.augment import distortions, erasures

Transform = Callable[[Image.Image], Tensor]

_LONGEST = 8  # times as long as wide: more of a picture than this is never within a centre crop


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """The whole picture or its centre, as timm's ``pretrained_cfg`` means the same values.

    Returns:
        A function from an RGB picture of any size to a (C, H, W) float32 tensor.
    """
    _, height, width = preprocessing.input_size
    scaled = (floor(height / preprocessing.crop_pct), floor(width / preprocessing.crop_pct))
    mode = _interpolation(preprocessing)
    resize: nn.Module
    if preprocessing.crop_mode == "squash":
        resize = v2.Resize(scaled, interpolation=mode, antialias=True)
    else:
        resize = _Cover(scaled, preprocessing.interpolation)
    return v2.Compose([resize, v2.CenterCrop((height, width)), *_to_input(preprocessing)])


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


class _Cover(nn.Module):
    """Resize so that a (height, width) is just covered and the aspect ratio stays."""

    def __init__(self, size: tuple[int, int], interpolation: str) -> None:
        super().__init__()
        self.size, self.filter = size, Image.Resampling[interpolation.upper()]

    def forward(self, image: Image.Image) -> Image.Image:
        image = _shorten(image)
        height, width = self.size
        ratio = min(image.height / height, image.width / width)
        # timm leaves square sizes to torchvision, which rounds the longer side down, and rounds others itself
        to_int = floor if height == width else round
        return image.resize(
            (max(to_int(image.width / ratio), width), max(to_int(image.height / ratio), height)), self.filter
        )


def _shorten(image: Image.Image) -> Image.Image:
    """Cut the ends of a strip, which would be thrown away after a resize that could fill the memory."""
    limit = _LONGEST * min(image.size)
    if max(image.size) <= limit:
        return image
    width, height = min(image.width, limit), min(image.height, limit)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
