from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from dat_cli.data import crop as module
from dat_cli.data.crop import Crop, cut


@pytest.fixture
def noise() -> Image.Image:
    """90 wide and 70 high, the hardest to resize."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))


def levels(picture: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    return np.asarray(picture).astype(np.int64)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("box", [(0, 0, 90, 70), (3, 5, 64, 66), (10, 10, 11, 60), (89, 69, 90, 70), (20, 20, 52, 44)])
def test_a_part_is_what_pillow_cuts_out_and_resizes_but_for_rounding(
    noise: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    box: tuple[int, int, int, int],
    interpolation: str,
    vectorised: bool,
) -> None:
    monkeypatch.setattr(module, "_VECTORISED", vectorised)
    part = cut(noise, Crop(box, (32, 24), interpolation))
    expected = noise.crop(box).resize((32, 24), Image.Resampling[interpolation.upper()])
    assert (part.mode, part.size) == ("RGB", (32, 24))
    difference = np.abs(levels(part) - levels(expected))
    assert difference.max() <= (2 if vectorised and interpolation != "nearest" else 0)
    assert difference.mean() < 0.05


def test_a_box_between_pixels_is_cut_there() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    whole, moved = (levels(cut(ramp, Crop((x, 0, x + 80, 80), (40, 40), "bilinear"))) for x in (10, 10.5))
    assert np.abs(moved - whole - 1)[:, 1:-1].max() <= 1  # half a pixel to the right: one level more
    assert (moved - whole)[:, 1:-1].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("box", "density"), [((0, 0, 64, 64), 2.0), ((0, 0, 64, 16), 0.5), ((0.5, 0, 8.5, 40), 0.25)])
def test_density_is_that_of_the_side_with_fewer_pixels(box: tuple[float, float, float, float], density: float) -> None:
    assert Crop(box, (32, 32), "bicubic").density == density
