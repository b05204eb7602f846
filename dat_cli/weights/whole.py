"""A file that nobody ever sees half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dat_cli.errors import DatError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to write, which becomes ``path`` when it is complete; an exception leaves everything as it was.

    Raises:
        DatError: A library could not write it, as on a full disk.
        OSError: The same, where the system itself says so.
    """
    place = Path(os.path.realpath(path))  # a link stays a link
    temporary = place.with_name(f".{place.name[:100]}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as created:
            mode = os.fstat(created.fileno()).st_mode & 0o777  # as the umask wants it; safetensors writes 0600
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(place)
        _sync(place.parent)
    except Exception as error:
        if not _is_of_a_writer(error):
            raise
        raise DatError(f"cannot write {path}: {(str(error).splitlines() or [''])[0][:200]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_of_a_writer(error: Exception) -> bool:
    """What safetensors and torch raise when the disk refuses; known by name, so that neither has to be imported."""
    return type(error).__name__ in ("SafetensorError", "RuntimeError")


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
