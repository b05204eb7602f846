from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dat_cli.data.image import IMAGE_SUFFIXES, check_image, load_image
from dat_cli.errors import DataError

ORIENTATION = 0x0112


def pixels_of(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(image).astype(np.int64)


def error_of(path: Path) -> str:
    """The error of both ways to read a file, which must agree."""
    with pytest.raises(DataError) as whole:
        load_image(path)
    with pytest.raises(DataError) as checked:
        check_image(path)
    assert checked.value.message == whole.value.message
    return whole.value.message


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_kind_is_read_as_8_bit_rgb(tmp_path: Path, photo: Image.Image, suffix: str) -> None:
    path = tmp_path / f"picture{suffix.upper()}"
    photo.save(path)
    image = load_image(path)
    assert (image.mode, image.size) == ("RGB", photo.size)
    assert np.abs(pixels_of(image) - pixels_of(photo)).mean() < 12
    check_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_once(tmp_path: Path, photo: Image.Image, orientation: int, suffix: str) -> None:
    stored = {  # what a camera held that way stores: turning it back gives the photo
        1: photo,
        2: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: photo.transpose(Image.Transpose.ROTATE_180),
        4: photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: photo.transpose(Image.Transpose.TRANSPOSE),
        6: photo.transpose(Image.Transpose.ROTATE_90),
        7: photo.transpose(Image.Transpose.TRANSVERSE),
        8: photo.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    if f".{suffix}" not in IMAGE_SUFFIXES:
        pytest.skip(f"this Pillow has no {suffix}")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif)
    image = load_image(path)
    assert image.size == photo.size
    assert np.abs(pixels_of(image) - pixels_of(photo)).mean() < 12
    assert ORIENTATION not in image.getexif()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*garbage", b"Exif\0\0", b"nonsense"])
def test_damaged_notes_do_not_damage_a_picture(tmp_path: Path, photo: Image.Image, exif: bytes) -> None:
    photo.save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").size == photo.size


@pytest.mark.parametrize(("suffix", "dtype"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2")])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str, dtype: str) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]] * 5, dtype=np.uint16)
    path = tmp_path / f"grey.{suffix}"
    if dtype == ">u2":
        Image.frombytes("I;16B", (5, 5), values.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(values).save(path)
    assert pixels_of(load_image(path))[0, :, 0].tolist() == [0, 1, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 1_000_000, 2_000_000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1.01]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, np.nan, np.inf, 1]], np.float32), [0, 0, 255, 255]),
        (np.array([[np.nan, np.nan]], np.float32), [0, 0]),
        (np.array([[7e9, 7e9]], np.float32), [0, 0]),
    ],
)
def test_wider_numbers_are_scaled_from_the_range_that_holds_them(
    tmp_path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "values.tif")
    assert pixels_of(load_image(tmp_path / "values.tif"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1"])
def test_transparent_parts_are_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "clear.png"
    if mode in ("RGBA", "LA"):
        Image.new(mode, (4, 4)).save(path)  # black, fully transparent
    else:
        Image.new(mode, (4, 4)).save(path, transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert load_image(path).getpixel((1, 1)) == (255, 255, 255)


def test_half_transparent_red_is_pink(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "half.png")
    assert load_image(tmp_path / "half.png").getpixel((0, 0)) == (255, 127, 127)


def test_cmyk_of_a_printer_is_not_inverted(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK").save(tmp_path / "print.jpg")
    red, green, blue = pixels_of(load_image(tmp_path / "print.jpg"))[8, 8]
    assert red > 180
    assert green < 60
    assert blue < 60


def test_1_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = Image.new("1", (4, 4))
    bits.putpixel((1, 0), 1)
    bits.save(tmp_path / "bits.png")
    image = load_image(tmp_path / "bits.png")
    assert image.getpixel((0, 0)) == (0, 0, 0)
    assert image.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_the_first_of_several_frames_counts(tmp_path: Path, suffix: str) -> None:
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    red.save(tmp_path / f"film.{suffix}", save_all=True, append_images=[blue, blue])
    first, _, last = pixels_of(load_image(tmp_path / f"film.{suffix}"))[8, 8]
    assert first > 200
    assert last < 60


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
@pytest.mark.parametrize("part", [0.1, 0.4, 0.8])
def test_a_truncated_file_is_named(tmp_path: Path, photo: Image.Image, suffix: str, part: float) -> None:
    whole = tmp_path / f"whole{suffix}"
    photo.save(whole)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    assert error_of(path).startswith(f"cannot read {path}: ")


def test_a_truncated_progressive_jpeg_is_named(tmp_path: Path, photo: Image.Image) -> None:
    data = io.BytesIO()
    photo.save(data, "JPEG", progressive=True)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data.getvalue()[:-200])
    assert "truncated" in error_of(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"these are words\n" * 9, "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no image"),
        (b"\x89PNG\r\n\x1a\n", "no image"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    message = error_of(path)
    assert str(path) in message
    assert reason in message


def test_a_decompression_bomb_is_not_opened(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    message = error_of(path)
    assert str(path) in message
    assert "bomb" in message


def test_a_huge_text_in_a_png_is_a_named_error(tmp_path: Path, photo: Image.Image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * 2_000_000, zip=True)
    photo.save(tmp_path / "text.png", pnginfo=info)
    assert str(tmp_path / "text.png") in error_of(tmp_path / "text.png")


@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait forever
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    assert "no regular file" in error_of(tmp_path / "pipe.jpg")
    assert "folder" in error_of(tmp_path / "folder.jpg")
    assert "no such file" in error_of(tmp_path / "broken.jpg")
    assert "symbolic links" in error_of(tmp_path / "circle.jpg")
    assert "no such file" in error_of(tmp_path / "absent.jpg")


def test_the_error_of_a_name_that_is_no_text_is_one_printable_line(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\nol.jpg"))
    path.write_bytes(b"no image")
    message = error_of(path)
    assert r"caf\xe9\nol" in message
    assert message.isprintable()
    message.encode()


def test_an_open_file_is_read_and_called_by_the_given_name(photo: Image.Image) -> None:
    data = io.BytesIO()
    photo.save(data, "PNG")
    assert load_image(data).size == photo.size
    assert not data.closed
    with pytest.raises(DataError, match="cannot read standard input: "):
        load_image(io.BytesIO(b"words"), "standard input")


def test_an_image_from_a_pipe_is_read(photo: Image.Image) -> None:
    data = io.BytesIO()
    photo.save(data, "PNG")
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data.getvalue())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        assert load_image(stream, "standard input").size == photo.size
    writer.join()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow tells what else it noticed
def test_damaged_files_raise_nothing_but_data_errors(photo: Image.Image) -> None:
    small = photo.resize((12, 12))
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        data = io.BytesIO()
        small.save(data, kind)
        for seed in range(60):
            rng = np.random.default_rng(seed)
            damaged = bytearray(data.getvalue())
            for position in rng.integers(0, min(len(damaged), 200), 6):
                damaged[position] = rng.integers(256)
            try:
                load_image(io.BytesIO(bytes(damaged)), "fuzz")
            except DataError as error:
                assert error.message.startswith("cannot read fuzz: ")  # noqa: PT017 - most, not all, are damaged
