"""Pixels of the network's input lie in the image where the geometry says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.data.geometry import View, eval_view
from dat_cli.data.transforms import eval_transform

SIZES = [(640, 427), (300, 900), (100, 100), (37, 61), (2000, 90)]
CASES = [
    Preprocessing((3, 224, 224)),
    Preprocessing((3, 384, 384), crop_pct=1.0),
    Preprocessing((3, 224, 224), crop_mode="center"),
    Preprocessing((3, 96, 128), crop_mode="center", crop_pct=0.9),
    Preprocessing((3, 32, 32), crop_mode="center", crop_pct=1.0, interpolation="bilinear"),
    Preprocessing((3, 160, 96), crop_pct=0.7, interpolation="nearest"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.crop_mode}-{case.input_size[1]}-{case.crop_pct}")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_pixel_comes_from_where_the_view_says(case: Preprocessing, size: tuple[int, int]) -> None:
    """Images whose brightness is the place, down or across, are read off after the real transform."""
    width, height = size
    plain = replace(case, mean=(0.0,) * 3, std=(1.0,) * 3)
    view = eval_view(case, size)
    rows, columns = np.indices(case.input_size[1:]) + 0.5
    expected = view.to_image(np.stack([columns, rows], axis=-1))
    for axis, length in ((0, width), (1, height)):
        ramp = (np.indices((height, width))[1 - axis] + 0.5) / length
        seen = eval_transform(plain)(as_picture(ramp))[0].numpy() * length
        inside = (expected[..., axis] > 0.05 * length) & (expected[..., axis] < 0.95 * length)  # filters bend the ends
        errors = (seen - expected[..., axis])[inside]
        tolerance = 0.3 * length / 255 + 0.02 * view.scale[axis]
        nearest = case.interpolation == "nearest"  # which takes the pixel that it finds, up to half of one away
        assert np.abs(errors).max() < length / 255 + 0.51 * max(1, view.scale[axis])
        assert abs(errors.mean()) < tolerance + 0.5 * nearest


def test_what_is_cut_off_lies_outside_of_the_box() -> None:
    wide = eval_view(Preprocessing((3, 100, 100), crop_mode="center", crop_pct=1.0), (300, 200))
    assert wide.box == (50.0, 0.0, 250.0, 200.0)
    squashed = eval_view(Preprocessing((3, 100, 100), crop_pct=0.5), (300, 200))
    assert squashed.box == (75.0, 50.0, 225.0, 150.0)


def test_there_and_back() -> None:
    view = View((640, 427), (224, 224), (2.5, 1.7), (40.0, 20.0))
    points = np.array([[0.0, 0.0], [112.0, 7.5]])
    np.testing.assert_allclose(view.to_input(view.to_image(points)), points)
    np.testing.assert_allclose(view.to_image([112, 112]), [320, 210.4])


def as_picture(brightness: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray((brightness * 255).round().astype(np.uint8)).convert("RGB")
