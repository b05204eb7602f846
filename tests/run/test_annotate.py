"""The strip with the label: there, readable, and within the picture, whatever the picture and the label are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import font_manager
from PIL import Image

from dat_cli.run.annotate import annotate, font_file

WHITE = 200


def bright(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, (90, 160, 230))


def strip(image: Image.Image) -> npt.NDArray[np.bool_]:
    """Where letters are in the dark part at the bottom, (H, W)."""
    pixels = np.asarray(image.convert("L"))
    dark = np.flatnonzero(np.median(pixels, axis=1) < 80)
    assert dark.size
    assert dark[-1] == image.height - 1
    return pixels[dark[0] :] > WHITE


@pytest.mark.parametrize("size", [(160, 120), (640, 427), (427, 640), (3000, 2000)])
def test_the_strip_grows_with_the_picture(size: tuple[int, int]) -> None:
    image = bright(size)
    drawn = annotate(image, "military uniform", 3, 0.973)
    assert drawn.size == size
    letters = strip(drawn)
    assert 0.06 < len(letters) / min(size) < 0.25
    columns = np.flatnonzero(letters.any(axis=0))
    assert 0 < columns[0] < 0.06 * size[0]
    assert 0.94 * size[0] < columns[-1] < size[0]
    assert len(set(image.tobytes())) == 3  # the picture itself stays as it was


def test_a_long_name_is_cut_and_the_probability_stays() -> None:
    short, long = (strip(annotate(bright((400, 300)), "x" * count, 0, 0.5)) for count in (3, 500))
    assert (short[:, -60:] == long[:, -60:]).all()
    gaps = np.diff(np.flatnonzero(long.any(axis=0)))
    assert gaps.max() > 5  # between the name and the probability


def test_a_tiny_picture_is_enlarged_by_whole_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    drawn = annotate(Image.fromarray(pixels), "7", 7, 0.99)
    assert drawn.size == (160, 160)
    assert (np.asarray(drawn)[:100:20, ::20] == pixels[:5]).all()
    assert strip(drawn).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2000, 100)])
def test_strips_and_dots_are_no_error(size: tuple[int, int]) -> None:
    drawn = annotate(bright(size), "a name", 0, 1.0)
    assert max(drawn.size) <= 5000


@pytest.mark.parametrize("label", ["Größe", "кошка", "γάτα", "قطة"])
def test_letters_of_many_languages_are_drawn(label: str) -> None:
    assert font_file(frozenset(label)) is not None
    assert (
        strip(annotate(bright((300, 200)), label, 3, 0.5)) != strip(annotate(bright((300, 200)), "class 3", 3, 0.5))
    ).any()


def test_a_name_that_no_font_has_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    font_file.cache_clear()
    try:
        assert font_file(frozenset("犬")) is None
        by_number = annotate(bright((300, 200)), "class 3", 3, 0.5)
        assert annotate(bright((300, 200)), "犬", 3, 0.5).tobytes() == by_number.tobytes()
        assert font_file(frozenset("cat \U0001f431")) is not None  # a sign that is no letter may lack
    finally:
        font_file.cache_clear()


def test_a_name_cannot_break_the_line() -> None:
    drawn = annotate(bright((300, 200)), "a\nb\x1b[2J", 3, 0.5)
    assert drawn.tobytes() == annotate(bright((300, 200)), "a\\nb\\x1b[2J", 3, 0.5).tobytes()


def test_the_drawing_is_the_same_every_time() -> None:
    first, second = (annotate(bright((300, 200)), "cat", 3, 0.5).tobytes() for _ in range(2))
    assert first == second
