"""Find the pictures of a folder, whatever else lies in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from PIL import features

from dat_cli.errors import DataError

Identity = tuple[int, int]  # device and number of a folder, whatever names lead to it

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
    seen = {_identity(path) for path in (folder, *barred)} | folders_above(folder)
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
    return _answer(entry.is_dir, entry)


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether it is a regular file, or a link to one, that is named as a picture."""
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and _answer(entry.is_file, entry)


def leads_up(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to the folder that it lies in, or to one above."""
    parent = Path(entry.path).parent
    return entry.is_symlink() and _identity(Path(entry.path)) in {_identity(parent)} | folders_above(parent)


def folders_above(folder: Path) -> set[Identity]:
    """What tells the folders above one from all others."""
    found = set()
    for parent in folder.resolve().parents:
        with suppress(OSError):  # those that may not be looked at cannot be reached by a link either
            found.add(_identity_of(parent.stat()))
    return found


def printable(path: Path | str) -> str:
    """A path as one line of text: bytes that are no UTF-8 and control characters are escaped."""
    return "".join(char if char.isprintable() else _escape(char) for char in str(path))


def unicode(text: str) -> str:
    r"""A path as valid Unicode, which JSON, CSV and Parquet must be: a byte that is no UTF-8 is ``\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python carries a byte that is no UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def _answer(question: Callable[[], bool], entry: os.DirEntry[str]) -> bool:
    try:
        return question()
    except PermissionError as error:
        raise _unreadable(Path(entry.path), error) from error
    except OSError:
        return False  # a link that leads in a circle


def _identity(folder: Path) -> Identity:
    try:
        return _identity_of(folder.stat())
    except OSError as error:
        raise _unreadable(folder, error) from error


def _identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = (error.strerror or str(error)).lower()
    return DataError(f"cannot read {printable(path)}: {reason}", hint="check that it exists and its permissions")
