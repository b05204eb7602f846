"""A list of images, one a line, in a file or on standard input."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from dat_cli.data.open_image import STANDARD_INPUT
from dat_cli.data.remote_file import shown
from dat_cli.errors import DataError

_LONGEST = 1 << 14  # bytes of a line; a file with longer ones is something else


class ListedImages:
    """Paths and addresses from the lines of a list, read while one iterates; empty lines are passed over.

    Args:
        source: The file, or ``-`` for standard input. That and pipes are copied to a temporary file, because one can
            iterate again.

    Raises:
        DataError: It cannot be read, or has no line.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.name = "standard input" if source == STANDARD_INPUT else shown(source)
        self.from_pipe = source == STANDARD_INPUT or _is_pipe(Path(source))
        """Whether it can be read only once, and by one process."""
        if next(iter(self), None) is None:
            raise DataError(f"no images in the list {self.name}", hint="write one path or address in each line")

    def __iter__(self) -> Iterator[str]:
        """Yield one line after another.

        Raises:
            DataError: The list cannot be read, or has lines that are too long for a path.
        """
        try:
            with self._open() as file:
                number = position = 0
                while line := _line(file, position):
                    number, position = number + 1, position + len(line)
                    if len(line) > _LONGEST:
                        raise DataError(f"line {number} of {self.name} is too long for a path or an address")
                    name = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                    if path := os.fsdecode(name.rstrip(b"\r\n")):
                        yield f".{os.sep}{path}" if path == STANDARD_INPUT else path
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise DataError(f"cannot read the list {self.name}: {reason}") from error

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._copy) if self.from_pipe else Path(self.source).open("rb")

    @cached_property
    def _copy(self) -> BinaryIO:
        copy = tempfile.TemporaryFile(prefix="dat-list-")  # noqa: SIM115 - it is gone with its last reader
        if self.source != STANDARD_INPUT:
            with Path(self.source).open("rb") as pipe:
                shutil.copyfileobj(pipe, copy)
        elif sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise DataError("nothing comes on standard input", hint="pipe a list, as from find")
        else:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        return copy


def _is_pipe(path: Path) -> bool:
    """Whether it is there, but no regular file; a folder is for the one who opens it to complain about."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _line(file: BinaryIO, position: int) -> bytes:
    """The line that begins there; a copy has several readers, each with its own place."""
    file.seek(position)
    return file.readline(_LONGEST + 1)
