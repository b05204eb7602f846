"""Parts of pictures, decoded no larger than they need, against parts of pictures that were decoded whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from dat_cli.data.crop import Crop, cut
from dat_cli.data.image import IMAGE_SUFFIXES, load_enough, load_image
from dat_cli.errors import DataError

ORIENTATION = 0x0112
PART = Crop((101, 40, 388, 330), (32, 32), "bicubic")  # 287 x 290: at 1/4 it still has more than twice 32


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """401 wide and 363 high, neither a multiple of 8: waves of all directions, which a part of a pixel shows."""
    y, x = np.mgrid[0:363, 0:401]
    waves = np.stack([np.sin(x / 30), np.sin((x + y) / 25), np.sin(y / 20 - x / 40)], axis=-1)
    return Image.fromarray((waves * 100 + 128).astype(np.uint8))


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The denominators at which JPEGs were decoded from now on."""
    seen: list[int] = []
    load = JpegImagePlugin.JpegImageFile.load_prepare

    def watched(image: Any) -> None:
        seen.append(image.decoderconfig[0] if image.decoderconfig else 1)
        load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_prepare", watched)
    return seen


def difference(path: Path, crop: Crop = PART) -> float:
    """Mean levels between the part of the file and that of the whole picture."""
    part, expected = cut(*load_enough(path, lambda _: crop)), cut(load_image(path), crop)
    assert (part.mode, part.size, part.info) == (expected.mode, expected.size, {})
    return float(np.abs(np.asarray(part).astype(int) - np.asarray(expected).astype(int)).mean())


@pytest.mark.parametrize(
    ("side", "scale"), [(16, 8), (24, 4), (32, 4), (40, 2), (70, 2), (80, 1), (300, 1)]
)  # of what is made of 287 x 290 pixels
def test_a_jpeg_is_decoded_at_the_smallest_size_with_two_pixels_for_one(
    tmp_path: Path, scene: Image.Image, scales: list[int], side: int, scale: int
) -> None:
    scene.save(tmp_path / "a.jpg", quality=95)
    load_enough(tmp_path / "a.jpg", lambda _: PART._replace(size=(side, side)))
    assert scales == [scale]


@pytest.mark.parametrize("side", [16, 32, 70])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"mode": "L"}, {"mode": "CMYK"}, {"restart_marker_rows": 1}],
    ids=lambda options: "-".join(map(str, options.values())) or "usual",
)
def test_every_kind_of_jpeg_shows_the_same_part(
    tmp_path: Path, scene: Image.Image, options: dict[str, Any], side: int
) -> None:
    options = {"mode": "RGB"} | options
    scene.convert(options.pop("mode")).save(tmp_path / "a.jpg", quality=95, **options)
    assert difference(tmp_path / "a.jpg", PART._replace(size=(side, side))) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("corner", [(0, 0), (1, 1)])
def test_a_turned_jpeg_shows_the_same_part_though_its_edges_are_no_multiple_of_the_scale(
    tmp_path: Path, scene: Image.Image, scales: list[int], orientation: int, corner: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "a.jpg"
    scene.save(path, quality=95, exif=exif)
    width, height = load_image(path).size
    left, top = corner[0] * (width - 300), corner[1] * (height - 300)
    assert difference(path, Crop((left, top, left + 300, top + 300), (18, 18), "bicubic")) < 1
    assert scales == [1, 8, 1]


def test_the_part_is_chosen_by_the_size_of_the_upright_picture(tmp_path: Path, scene: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    scene.save(tmp_path / "a.jpg", exif=exif)
    sizes = []

    def choose(size: tuple[int, int]) -> Crop:
        sizes.append(size)
        return PART

    load_enough(tmp_path / "a.jpg", choose)
    assert sizes == [(363, 401)]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".jpg", ".jpeg"}))
def test_other_kinds_are_decoded_whole(tmp_path: Path, scene: Image.Image, suffix: str) -> None:
    scene.save(tmp_path / f"a{suffix}")
    assert difference(tmp_path / f"a{suffix}") == 0


def test_a_part_of_an_open_file_is_read(scene: Image.Image) -> None:
    data = io.BytesIO()
    scene.save(data, "JPEG")
    assert cut(*load_enough(data, lambda _: PART)).size == (32, 32)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_jpeg_is_named_wherever_its_part_lies(
    tmp_path: Path, scene: Image.Image, kept: float, progressive: bool
) -> None:
    path = tmp_path / "cut.jpg"
    scene.save(path, progressive=progressive)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError) as part:
        load_enough(path, lambda _: Crop((0, 0, 300, 100), (16, 16), "bicubic"))
    with pytest.raises(DataError) as whole:
        load_image(path)
    assert part.value.message == whole.value.message
    assert str(path) in part.value.message
