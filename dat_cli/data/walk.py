"""Find the pictures of a folder, whatever else lies in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import features

from dat_cli.errors import DataError

_OPTIONAL_SUFFIXES = {"webp": ".webp", "avif": ".avif"}  # Pillow can be built without these two

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff"}
    | {suffix for codec, suffix in _OPTIONAL_SUFFIXES.items() if features.check(codec)}
)
"""Endings that make a file a picture, in lower case; files may be spelt in any case."""

# What operating systems and file servers leave behind; some of it looks like pictures.
_LEFTOVERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})


def find_images(folder: Path, *, barred: Iterable[Path] = ()) -> Iterator[Path]:
    """The pictures below a folder, one after another: sorted by name within each folder.

    Hidden names, leftovers of operating systems, sockets, pipes and broken links are passed over. Links are
    followed, but never back to the folder, to one above it or to one seen before, so that every real folder
    counts once.

    Args:
        folder: Where to look.
        barred: Folders that links are not followed into, such as those of other classes.

    Raises:
        DataError: A folder cannot be read.
    """
    real = folder.resolve()
    seen = {_identity(path) for path in (real, *real.parents, *barred)}
    pending = [iter(list_folder(folder))]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif is_folder(entry):
            path = Path(entry.path)
            if (identity := _identity(path)) not in seen:
                seen.add(identity)
                pending.append(iter(list_folder(path)))
        elif is_image(entry):
            yield Path(entry.path)


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder and can be used, sorted by name: no hidden names, no leftovers.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _LEFTOVERS]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(found, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    return stat.S_ISDIR(_mode(entry))


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether it is a regular file, or a link to one, that is named as a picture."""
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and stat.S_ISREG(_mode(entry))


def same_folder(first: Path, second: Path) -> bool:
    """Whether two paths lead to one folder."""
    return _identity(first) == _identity(second)


def printable(path: Path | str) -> str:
    """A path as one line of text: bytes that are no UTF-8 and control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _mode(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mode
    except PermissionError as error:
        raise _unreadable(Path(entry.path), error) from error
    except OSError:
        return 0  # a link that leads nowhere, or in a circle: neither a folder nor a file


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return status.st_dev, status.st_ino


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = (error.strerror or str(error)).lower()
    return DataError(f"cannot read {printable(path)}: {reason}", hint="check that it exists and its permissions")
