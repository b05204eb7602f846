"""Colours of every kind as red, green and blue of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode in RGB with 8 bits, as ``image.load_image`` describes it."""
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image) / 65535)
    if image.mode in ("I", "F"):
        return _from_array(_unit_range(np.asarray(image, dtype=np.float64), is_float=image.mode == "F"))
    if not image.has_transparency_data:
        is_done = image.mode == "RGB" and image.format in ("JPEG", None)  # other kinds may hold more frames, and files
        return image if is_done else image.convert("RGB")
    pixels = image.convert("RGBA")
    page = Image.new("RGBA", pixels.size, "white")
    page.alpha_composite(pixels)
    return page.convert("RGB")


def _unit_range(values: npt.NDArray[np.float64], *, is_float: bool) -> npt.NDArray[np.float64]:
    """(H, W) of unknown range to [0, 1]."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros_like(values)
    low, high = float(finite.min()), float(finite.max())
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    slack = 0.05 if is_float else 0.0  # resampled floats overshoot a little
    for full in (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0):
        if -slack * full <= low and high <= (1 + slack) * full:
            return np.clip(values / full, 0, 1)
    return (values - low) / (high - low or 1.0)


def _from_array(values: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")
