"""Which images a person means: files, folders, patterns and addresses, walked lazily and each once; and lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from dat_cli.data.image import IMAGE_SUFFIXES, find_images
from dat_cli.data.open_image import STANDARD_INPUT, standard_input
from dat_cli.data.remote_file import RemoteFile, shown
from dat_cli.data.shard_addresses import is_remote
from dat_cli.errors import DataError
from dat_cli.run.image_list import ListedImages

_LISTED = 3
_PATTERN_SIGNS = re.compile(r"[*?\[]")


class ImagePaths:
    """The images that arguments of a command line and a list mean, in their order, found while one iterates.

    Only with several arguments, which may overlap, are the files seen so far remembered (as a number each); those
    of one folder are not, however many there are. Lines of a list are never left out.

    Args:
        arguments: Images, folders (searched recursively), patterns such as ``photos/**/*.jpg``, addresses of http or
            https, and ``-`` for one image on standard input. A file given by its name is taken whatever it holds;
            folders and patterns give files with the suffix of an image.
        listed: A file with the path or the address of an image in each line, taken as they stand, or ``-`` for lines
            on standard input. They come after the arguments.

    Raises:
        DataError: Nothing was given, something does not exist or is no address, a folder, a pattern or a list has no
            image, or standard input has nothing to give; names them.
    """

    def __init__(self, arguments: Sequence[str], *, listed: str | None = None) -> None:
        self.arguments = list(arguments)
        if not arguments and listed is None:
            raise DataError("no images given", hint="give images, folders, patterns or addresses, or a list of them")
        missing = [argument for argument in arguments if not _may_exist(argument)]
        if missing:
            raise DataError(f"there is no {_some(missing)}")
        empty = [argument for argument in arguments if next(_matches(argument), None) is None]
        if empty:
            raise DataError(f"no images in {_some(empty)}", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
        if listed == STANDARD_INPUT and STANDARD_INPUT in arguments:
            raise DataError("an image and a list cannot both come on standard input", hint="write one to a file")
        for argument in arguments:
            if argument == STANDARD_INPUT:
                standard_input()  # before there are processes that decode, see Decode
            elif is_remote(argument):
                RemoteFile(argument)  # refuses what is no address
        self.lines = None if listed is None else ListedImages(listed)
        self.from_pipe = STANDARD_INPUT in arguments or (self.lines is not None and self.lines.from_pipe)
        """Whether something can be read only once, and by one process."""

    def __iter__(self) -> Iterator[str]:
        """Yield paths as they were given, or below the folder that was given."""
        may_overlap = len(self.arguments) > 1 or "".join(self.arguments).count("**") > 1
        seen: set[int] = set()
        for argument in self.arguments:
            for path in _matches(argument):
                if may_overlap:
                    key = hash(path if _is_elsewhere(path) else os.path.normpath(Path(path).absolute()))
                    if key in seen:
                        continue
                    seen.add(key)
                yield path
        yield from self.lines or ()


def _matches(argument: str) -> Iterator[str]:
    """The images of one argument; what exists under that very name is no pattern."""
    if _is_elsewhere(argument):
        yield argument
    elif Path(argument).is_dir():
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


def _may_exist(argument: str) -> bool:
    return _is_elsewhere(argument) or _is_pattern(argument) or os.access(argument, os.F_OK)


def _is_elsewhere(argument: str) -> bool:
    """Whether it is not in the file system."""
    return argument == STANDARD_INPUT or is_remote(argument)


def _is_pattern(argument: str) -> bool:
    return bool(_PATTERN_SIGNS.search(argument)) and not os.path.lexists(argument)


def _some(names: Sequence[str]) -> str:
    some = ", ".join(f"'{shown(name)}'" for name in names[:_LISTED])
    return some if len(names) <= _LISTED else f"{some} and {len(names) - _LISTED} more"
