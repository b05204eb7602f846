"""A file that nobody ever sees half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dat_cli.errors import DatError, UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to write, which becomes ``path`` when it is complete; an exception leaves everything as it was.

    Raises:
        UsageError: There is something that is no ordinary file, as a device or a pipe.
        DatError: A library could not write it, as on a full disk.
        OSError: The same, where the system itself says so.
    """
    place = Path(os.path.realpath(path))  # a link stays a link
    if place.exists() and not place.is_file():
        kind = "a folder" if place.is_dir() else "a device or a pipe"
        raise UsageError(f"cannot write {path}: it is {kind}, not a file")
    temporary = place.with_name(f".{place.name[:100]}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as created:
            mode = os.fstat(created.fileno()).st_mode & 0o777  # as the umask wants it; safetensors writes 0600
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(place)
        _sync(place.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    except Exception as error:
        if not _is_of_a_writer(error):
            raise
        raise DatError(f"cannot write {path}: {(str(error).splitlines() or [''])[0][:200]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_of_a_writer(error: Exception) -> bool:
    """What safetensors raises when the disk refuses; known by name, so that it need not be imported."""
    return type(error).__name__ == "SafetensorError"


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
