"""Decode one picture safely; the same way for training, evaluation and prediction."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from dat_cli.data.walk import IMAGE_SUFFIXES, find_images, printable
from dat_cli.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "check_image", "find_images", "load_image"]

# Only these decoders ever see a file. Others that Pillow has would start programs (EPS) or read fonts and films.
_OPTIONAL_FORMATS = [name.upper() for name in ("webp", "avif") if features.check(name)]
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", *_OPTIONAL_FORMATS)  # JPEG opens MPO, the kind of some phones

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(source: Path | str | BinaryIO, name: str | None = None) -> Image.Image:
    """A picture as a person sees it: upright, RGB, 8 bit, the first frame where there are several.

    Transparent parts are laid over white. 16 bits are scaled to 8; 32-bit integers and floats are scaled from the
    smallest usual range that holds them (1 for floats, 255, 65535), or else from their own.

    Args:
        source: A path, or a file opened for reading bytes.
        name: What to call it in an error; by default its path.

    Raises:
        DataError: It cannot be read or decoded; names it and says why.
    """
    return _decode(source, name, small=False)


def check_image(path: Path | str) -> None:
    """Decode a picture to learn whether it is whole.

    A JPEG is read to its end but drawn at an eighth of its size, which takes a fraction of the time.

    Raises:
        DataError: As ``load_image`` would.
    """
    _decode(path, None, small=True)


def _decode(source: Path | str | BinaryIO, name: str | None, *, small: bool) -> Image.Image:
    if name is None:
        name = str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "the image"))
    try:
        if isinstance(source, (str, Path)):
            _require_file(Path(source))
        with Image.open(source, formats=_FORMATS) as image:
            if small:
                image.draft(None, (1, 1))  # does nothing but for JPEG
            image.load()
            result = _to_rgb(_upright(image))
    except MemoryError:
        raise  # says nothing about the picture
    except Exception as error:  # decoders raise nearly everything for a damaged file: struct.error, KeyError, ...
        raise DataError(f"cannot read {printable(name)}: {_reason(error)}") from error
    result.info.clear()  # so that nobody turns it a second time
    return result


def _require_file(path: Path) -> None:
    """Refuse what would block (a pipe) or cannot hold a picture, before it is opened."""
    if path.is_dir():
        raise OSError("it is a folder")
    status = path.stat()
    if not path.is_file():
        raise OSError("it is no regular file")
    if status.st_size == 0:
        raise OSError("the file is empty")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error):
        return image  # notes about a picture can be damaged where the picture is whole
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image) / 65535)
    if image.mode in ("I", "F"):
        return _from_array(_unit_range(np.asarray(image, dtype=np.float64), is_float=image.mode == "F"))
    if not image.has_transparency_data:
        return image.convert("RGB")
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


def _reason(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "it has so many pixels that it may be a decompression bomb; scale it down"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a kind that is not supported, or its beginning is damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:200] or type(error).__name__
