"""Where the pixels that a network is given lie in the image that they were made of."""

from __future__ import annotations

from math import floor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dat_cli.catalog import Preprocessing

_LONGEST = 8  # times as long as wide: more of a picture than this is never within a centre crop


class View(NamedTuple):
    """How the input of a network was cut out of an image.

    Coordinates are continuous pixels, (x, y): (0, 0) is the top left corner of the first pixel, whose centre is
    (0.5, 0.5), and (width, height) the bottom right corner of the last.

    Attributes:
        image: (width, height) of the original image.
        size: (width, height) of the input.
        scale: Pixels of the image that one pixel of the input covers, (x, y).
        origin: The input's top left corner in the image, (x, y).
    """

    image: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    origin: tuple[float, float] = (0.0, 0.0)

    def to_image(self, points: npt.ArrayLike) -> npt.NDArray[Any]:
        """Points of the input, (..., 2) as (x, y), as points of the image."""
        return np.asarray(points) * self.scale + self.origin

    def to_input(self, points: npt.ArrayLike) -> npt.NDArray[Any]:
        """Points of the image, (..., 2) as (x, y), as points of the input."""
        return (np.asarray(points) - self.origin) / self.scale

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What of the image the network is given: left, top, right, bottom."""
        left, top = self.origin
        return left, top, left + self.size[0] * self.scale[0], top + self.size[1] * self.scale[1]


def eval_view(preprocessing: Preprocessing, image: tuple[int, int]) -> View:
    """What ``eval_transform`` makes of an image of (width, height) pixels."""
    _, height, width = preprocessing.input_size
    left, top, right, bottom = (0, 0, *image)
    if preprocessing.crop_mode == "squash":
        resized = (floor(width / preprocessing.crop_pct), floor(height / preprocessing.crop_pct))
    else:
        left, top, right, bottom = middle_part(image)
        resized = covering((right - left, bottom - top), preprocessing)
    scale = ((right - left) / resized[0], (bottom - top) / resized[1])
    # as torchvision's CenterCrop rounds
    cut = (round((resized[0] - width) / 2), round((resized[1] - height) / 2))
    return View(image, (width, height), scale, (left + cut[0] * scale[0], top + cut[1] * scale[1]))


def covering(image: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) of an image once it just covers the size before the crop, its aspect ratio kept."""
    _, height, width = preprocessing.input_size
    height, width = floor(height / preprocessing.crop_pct), floor(width / preprocessing.crop_pct)
    ratio = min(image[1] / height, image[0] / width)
    # timm leaves square sizes to torchvision, which rounds the longer side down, and rounds others itself
    to_int = floor if height == width else round
    return max(to_int(image[0] / ratio), width), max(to_int(image[1] / ratio), height)


def middle_part(image: tuple[int, int]) -> tuple[int, int, int, int]:
    """The (left, top, right, bottom) of a strip that can be in a crop: all of a picture that is no strip.

    The ends would be thrown away after a resize that could fill the memory.
    """
    limit = _LONGEST * min(image)
    width, height = min(image[0], limit), min(image[1], limit)
    left, top = (image[0] - width) // 2, (image[1] - height) // 2
    return left, top, left + width, top + height
