"""A part of a picture at the size of a network's input."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.transforms import v2

_VECTORISED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # elsewhere Pillow is the faster one

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


class Crop(NamedTuple):
    """A part of a picture, and what becomes of it.

    Attributes:
        box: In pixels of the picture.
        size: (width, height) that it is resized to.
        interpolation: Filter of that: ``bicubic``, ``bilinear`` or ``nearest``.
    """

    box: Box
    size: tuple[int, int]
    interpolation: str

    @property
    def density(self) -> float:
        """Pixels of the picture for each pixel of the result, on the side that has fewer."""
        left, top, right, bottom = self.box
        return min((right - left) / self.size[0], (bottom - top) / self.size[1])


class RandomResizedCrop(v2.RandomResizedCrop):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, whose part is known before the picture is decoded."""

    def choose(self, size: tuple[int, int]) -> Crop:
        """The part of a picture of (width, height)."""
        width, height = size
        drawn = self.make_params([torch.empty((3, height, width), device="meta")])
        left, top = drawn["left"], drawn["top"]
        box = (left, top, left + drawn["width"], top + drawn["height"])
        return Crop(box, (self.size[1], self.size[0]), self.interpolation.value)

    def forward(self, picture: Image.Image) -> Image.Image:
        """The part of a picture that is decoded already."""
        return cut(picture, self.choose(picture.size))


def cut(picture: Image.Image, crop: Crop) -> Image.Image:
    """The part, resized, of an RGB picture.

    Whole pixels are resized by PyTorch where its vectorised code runs, which takes a quarter of Pillow's time; its
    8-bit result differs from Pillow's in one pixel of some hundreds, by one or two of 255.
    """
    left, top, right, bottom = crop.box
    outer: Box = (floor(left), floor(top), ceil(right), ceil(bottom))
    part = picture.crop(outer)
    if _VECTORISED and crop.box == outer and crop.interpolation != "nearest":
        return _resized(part, crop)
    inner = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    return part.resize(crop.size, Image.Resampling[crop.interpolation.upper()], box=inner)


def _resized(part: Image.Image, crop: Crop) -> Image.Image:
    pixels = torch.from_numpy(np.array(part))[None].permute(0, 3, 1, 2)  # (1, 3, H, W), channels last in memory
    width, height = crop.size
    resized = interpolate(pixels, (height, width), mode=crop.interpolation, antialias=True)
    return Image.fromarray(resized[0].permute(1, 2, 0).contiguous().numpy())
