"""Where the pictures of each image go: under its name, and never over a file of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dat_cli.data.open_image import STANDARD_INPUT
from dat_cli.data.shard_addresses import is_remote
from dat_cli.data.walk import printable
from dat_cli.errors import UsageError
from dat_cli.interpret.pictures.canvas import is_ours
from dat_cli.whole import cut_to_bytes

_LONGEST_NAME = 180  # bytes, of 255 that file systems take


class PicturePlaces:
    """Names files in a folder, which is made for the first of them.

    Args:
        folder: Where.
        suffix: ``.png`` or ``.svg``.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix
        self._taken: set[str] = set()

    def of(self, source: str, pictures: Sequence[str]) -> list[Path]:
        """A place for each picture of an image; earlier pictures there will be replaced.

        Raises:
            UsageError: There can be no such folder, or another file has a name that is needed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is a file" if self.folder.is_file() else error.strerror or str(error)
            raise UsageError(f"--output {printable(self.folder)} cannot be a folder: {reason}") from error
        name = self._free_name(source)
        places = [self.folder / f"{name}-{picture}{self.suffix}" for picture in pictures]
        for place in places:
            if place.exists() and not is_ours(place):
                raise UsageError(f"{printable(place)} is no picture of dat explain", hint="give another --output")
        return places

    def _free_name(self, source: str) -> str:
        """The name of an image without its ending; numbered where another of this call has it."""
        name = _stem(source)
        free, number = name, 1
        while free in self._taken:
            number += 1
            free = f"{name}-{number}"
        self._taken.add(free)
        return free


def _stem(source: str) -> str:
    if source == STANDARD_INPUT:
        return "stdin"
    stem = (PurePosixPath(unquote(urlsplit(source).path)).stem or "image") if is_remote(source) else Path(source).stem
    stem = "".join("_" if char in "/\\\0" or not char.isprintable() else char for char in stem)
    return cut_to_bytes(stem, _LONGEST_NAME)
