"""A file of results that nobody ever sees half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from dat_cli.errors import UsageError


@contextmanager
def result_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that gets its name when it is complete; an exception leaves everything as it was.

    What is not a regular file, such as ``/dev/stdout`` or a named pipe, is written directly.

    Raises:
        UsageError: The place is a folder, or in a folder that is missing or cannot be written.
    """
    try:
        place = Path(os.path.realpath(path))  # a link stays a link
        if place.is_dir():
            raise UsageError(f"output {str(path)!r} is a folder", hint="give the name of a file in it")
        special = place.exists() and not place.is_file()
        if special:
            direct = place.open("w", encoding="utf-8", errors="backslashreplace")
        else:
            handle, name = tempfile.mkstemp(prefix=f".{place.name[:100]}.", suffix=".tmp", dir=place.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"output {str(path)[-200:]!r} cannot be written ({reason})") from error
    if special:
        with direct:
            yield direct
        return
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(_mode(place))
        temporary.replace(place)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _mode(place: Path) -> int:
    """Permissions of the file that is replaced, or of a new one; a temporary file has narrower ones."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
