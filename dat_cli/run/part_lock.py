"""That one command alone writes a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dat_cli.data.walk import printable
from dat_cli.errors import DatError


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Keep other commands from writing a file, whether it is there yet or not.

    What is locked is a file beside it, ``NAME.lock``, which nobody else opens: a lock of POSIX falls when its process
    closes any descriptor of the file. The system lifts it from whoever is killed; where a system or a file system
    knows no locks, there is none.

    Raises:
        DatError: Another command has it.
        OSError: Nothing can be written there.
    """
    beside = place.with_name(f"{place.name}.lock")
    stream = beside.open("ab")
    try:
        _lock(stream, place)
        while not _is_at(stream, beside):  # another command had it, and removed it when it was done
            stream.close()
            stream = beside.open("ab")
            _lock(stream, place)
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)  # first, so that whoever locks it later sees that it is no longer there
    finally:
        stream.close()


def _lock(stream: BinaryIO, place: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which workers that outlive us would hold
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise DatError(f"another command is writing {printable(place)}", hint="wait for it, or stop it") from error


def _is_at(stream: BinaryIO, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), place.stat())
    except FileNotFoundError:
        return False
