"""Decode one picture safely; the same way for training, evaluation and prediction."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError, features

from dat_cli.data.rgb import to_rgb
from dat_cli.data.walk import IMAGE_SUFFIXES, find_images, printable
from dat_cli.errors import DataError

if TYPE_CHECKING:
    from dat_cli.data.crop import Crop

__all__ = ["IMAGE_SUFFIXES", "check_image", "find_images", "load_enough", "load_image"]

# Only these decoders ever see a file. Others that Pillow has would start programs (EPS) or read fonts and films.
_OPTIONAL_FORMATS = [name.upper() for name in ("webp", "avif") if features.check(name)]
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", *_OPTIONAL_FORMATS)  # JPEG opens MPO, the kind of some phones

_SPARE = 2  # pixels a side for each of the result; with fewer it differs by more than one of 255 levels on the mean
_Read = TypeVar("_Read")

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
_SWAPPED = (5, 6, 7, 8)  # orientations in which width and height change places
_LEFT_IS_LAST = (2, 3, 6, 7)  # in which the left edge was the right or lower one of what is stored
_TOP_IS_LAST = (3, 4, 7, 8)


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
    return _decode(source, name, _whole)


def load_enough(
    source: Path | str | BinaryIO, choose: Callable[[tuple[int, int]], Crop], name: str | None = None
) -> tuple[Image.Image, Crop]:
    """A picture of which only a part is wanted, as ``load_image`` gives it but no larger than the part needs.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves two pixels a side for each of the result.

    Args:
        source: A path, or a file opened for reading bytes.
        choose: From the upright picture's (width, height) to the part that is wanted.
        name: What to call it in an error; by default its path.

    Returns:
        The picture, and the part in its pixels.

    Raises:
        DataError: It cannot be read or decoded; names it and says why.
    """
    return _decode(source, name, lambda image: _enough(image, choose))


def check_image(path: Path | str) -> None:
    """Decode a picture to learn whether it is whole.

    A JPEG is read to its end but drawn at an eighth of its size, which takes a fraction of the time.

    Raises:
        DataError: As ``load_image`` would.
    """
    _decode(path, None, _smallest)


def _decode(source: Path | str | BinaryIO, name: str | None, read: Callable[[Image.Image], _Read]) -> _Read:
    if name is None:
        name = str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "the image"))
    try:
        if isinstance(source, (str, Path)):
            _require_file(Path(source))
        with Image.open(source, formats=_FORMATS) as image:
            return read(image)
    except MemoryError:
        raise  # says nothing about the picture
    except Exception as error:  # decoders raise nearly everything for a damaged file: struct.error, KeyError, ...
        raise DataError(f"cannot read {printable(name)}: {_reason(error)}") from error


def _whole(image: Image.Image) -> Image.Image:
    image.load()
    return _upright(image, _orientation(image))


def _smallest(image: Image.Image) -> Image.Image:
    image.draft(None, (1, 1))  # does nothing but for JPEG
    return _whole(image)


def _enough(image: Image.Image, choose: Callable[[tuple[int, int]], Crop]) -> tuple[Image.Image, Crop]:
    """The upright picture, perhaps smaller than it is, and the part that is wanted in its pixels."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # only then other kinds know everything about themselves
    stored, orientation = image.size, _orientation(image)
    width, height = stored[::-1] if orientation in _SWAPPED else stored
    crop = choose((width, height))
    factor = next((factor for factor in (8, 4, 2) if crop.density >= factor * _SPARE), 1)
    if factor == 1 or image.draft(None, (stored[0] // factor, stored[1] // factor)) is None:
        return _upright(image, orientation), crop
    picture = _upright(image, orientation)
    # what lacks to whole pixels was added at the right and the lower edge of what is stored
    x = picture.width * factor - width if orientation in _LEFT_IS_LAST else 0
    y = picture.height * factor - height if orientation in _TOP_IS_LAST else 0
    left, top, right, bottom = crop.box
    box = ((left + x) / factor, (top + y) / factor, (right + x) / factor, (bottom + y) / factor)
    return picture, crop._replace(box=box)


def _require_file(path: Path) -> None:
    """Refuse what would block (a pipe) or cannot hold a picture, before it is opened."""
    if path.is_dir():
        raise OSError("it is a folder")
    status = path.stat()
    if not path.is_file():
        raise OSError("it is no regular file")
    if status.st_size == 0:
        raise OSError("the file is empty")


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().pop(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error):
        return 1  # notes about a picture can be damaged where the picture is whole
    return orientation if isinstance(orientation, int) else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """What is stored as a person sees it, and nothing beside it that would let somebody turn it a second time."""
    image.load()
    picture = to_rgb(image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image)
    picture.info.clear()
    return picture


def _reason(error: Exception) -> str:
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "it has so many pixels that it may be a decompression bomb; scale it down"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a kind that is not supported, or its beginning is damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:200] or type(error).__name__
