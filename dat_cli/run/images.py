"""Which images a person means: files, folders and patterns, walked lazily and each file once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from dat_cli.data.image import IMAGE_SUFFIXES, find_images
from dat_cli.data.walk import printable
from dat_cli.errors import DataError

_LISTED = 3
_PATTERN_SIGNS = re.compile(r"[*?\[]")


class ImagePaths:
    """The images that arguments of a command line mean, in their order, found while one iterates.

    Only with several arguments, which may overlap, are the files seen so far remembered (as a number each); those
    of one folder are not, however many there are.

    Args:
        arguments: Images, folders (searched recursively) and patterns such as ``photos/**/*.jpg``. A file given by
            its name is taken whatever it holds; folders and patterns give files with the suffix of an image.

    Raises:
        DataError: Nothing was given, something does not exist, or a folder or a pattern has no image; names them.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        if not arguments:
            raise DataError("no images given", hint="give images, folders or patterns: dat predict photo.jpg folder")
        missing = [argument for argument in arguments if not _is_pattern(argument) and not os.access(argument, os.F_OK)]
        if missing:
            raise DataError(f"there is no {_some(missing)}")
        empty = [argument for argument in arguments if next(_matches(argument), None) is None]
        if empty:
            raise DataError(f"no images in {_some(empty)}", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def __iter__(self) -> Iterator[str]:
        """Yield paths as they were given, or below the folder that was given."""
        may_overlap = len(self.arguments) > 1 or self.arguments[0].count("**") > 1
        seen: set[int] = set()
        for argument in self.arguments:
            for path in _matches(argument):
                if may_overlap:
                    key = hash(os.path.normpath(Path(path).absolute()))
                    if key in seen:
                        continue
                    seen.add(key)
                yield path


def _matches(argument: str) -> Iterator[str]:
    """The images of one argument; what exists under that very name is no pattern."""
    if Path(argument).is_dir():
        yield from map(str, find_images(Path(argument)))
    elif _is_pattern(argument):
        parts = Path(argument).parts
        start = Path(parts[0]) if Path(argument).is_absolute() else Path()
        for path in _expand(start, parts[1:] if Path(argument).is_absolute() else parts):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield str(path)
    else:
        yield argument


def _expand(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Like ``glob``, but sorted without holding more than one folder's names; ``**`` follows no links."""
    if not parts:
        yield folder
        return
    head, *rest = parts
    if head == "**":
        yield from _expand(folder, rest or ["*"])
        for name in _names(folder):
            if (folder / name).is_dir() and not (folder / name).is_symlink():
                yield from _expand(folder / name, parts)
    elif not _PATTERN_SIGNS.search(head):
        if (folder / head).exists():
            yield from _expand(folder / head, rest)
    else:
        matches = re.compile(translate(head)).match
        for name in _names(folder, hidden=head.startswith(".")):
            if matches(name):
                yield from _expand(folder / name, rest)


def _names(folder: Path, *, hidden: bool = False) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if hidden or not path.name.startswith("."))
    except OSError:  # not a folder, or one that may not be read: nothing in it matches
        return []


def _is_pattern(argument: str) -> bool:
    return bool(_PATTERN_SIGNS.search(argument)) and not os.path.lexists(argument)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(name)}'" for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
