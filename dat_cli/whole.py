"""A file that nobody ever sees half-written."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dat_cli.errors import DatError, UsageError

_LONGEST = 80  # bytes of a name that stand in that of its temporary file; file systems take 255, encrypted ones 143
_ABANDONED = 3600.0  # seconds; numbers of processes mean nothing on another machine that shares the folder


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to write, which becomes ``path`` when it is complete; an exception leaves everything as it was.

    A file that is replaced hands on its permissions; a new one has those that the umask wants.

    Raises:
        UsageError: There is something that is no ordinary file, as a device or a pipe.
        DatError: A library could not write it, as on a full disk.
        OSError: The same, where the system itself says so.
    """
    place = Path(os.path.realpath(path))  # a link stays a link
    if place.exists() and not place.is_file():
        kind = "a folder" if place.is_dir() else "a device or a pipe"
        raise UsageError(f"cannot write {path}: it is {kind}, not a file")
    temporary = temporary_name(place)
    try:
        with temporary.open("wb") as created:
            mode = os.fstat(created.fileno()).st_mode & 0o777  # as the umask wants it; safetensors writes 0600
        if place.exists():
            mode = place.stat().st_mode & 0o777
            temporary.chmod(mode | 0o200)  # before anything private is in it
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


def temporary_name(place: Path) -> Path:
    """Where this process writes what becomes ``place``: beside it, and as short as any file system wants a name."""
    return place.with_name(f"{_beginning(place)}{os.getpid()}.tmp")


def remove_abandoned(path: Path) -> None:
    """Remove temporary files of ``path`` whose processes were killed, an hour after they were last written to."""
    if os.name != "posix":
        return  # nothing there asks whether a process exists without harm to it
    place = Path(os.path.realpath(path))
    ours = re.compile(rf"{re.escape(_beginning(place))}([0-9]+)\.tmp")
    with suppress(OSError):
        for entry in os.scandir(place.parent):
            found = ours.fullmatch(entry.name)
            if found and entry.stat().st_mtime < time.time() - _ABANDONED and not _exists(int(found[1])):
                Path(entry.path).unlink()


def cut_to_bytes(text: str, most: int) -> str:
    """As many characters from the beginning of a name as have at most so many bytes on the disk."""
    encoded = os.fsencode(text)
    return text if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def _beginning(place: Path) -> str:
    name = place.name
    if (shorter := cut_to_bytes(name, _LONGEST)) != name:
        name = f"{shorter}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"  # others may begin like this one
    return f".{name}."


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


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
