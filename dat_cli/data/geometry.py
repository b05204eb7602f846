"""Where the pixels that a network is given lie in the image that they were made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt


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
    scale: tuple[float, float]
    origin: tuple[float, float]

    def to_image(self, points: npt.ArrayLike) -> npt.NDArray[Any]:
        """Points of the input, (..., 2) as (x, y), as points of the image."""
        import numpy as np

        return np.asarray(points) * self.scale + self.origin

    def to_input(self, points: npt.ArrayLike) -> npt.NDArray[Any]:
        """Points of the image, (..., 2) as (x, y), as points of the input."""
        import numpy as np

        return (np.asarray(points) - self.origin) / self.scale

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What of the image the network is given: left, top, right, bottom."""
        left, top = self.origin
        return left, top, left + self.size[0] * self.scale[0], top + self.size[1] * self.scale[1]
