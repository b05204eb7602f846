"""A folder in Hub layout that nobody ever sees half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dat_cli.errors import DatError, UsageError
from dat_cli.weights.layout import CARD, CONFIG, is_weights_file
from dat_cli.whole import temporary_name


@contextmanager
def layout_folder(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``out`` when it is complete; an exception leaves everything as it was.

    Raises:
        UsageError: ``out`` is a file, the current folder, or holds more than a folder of weights does; nothing is
            ever deleted that is not weights.
        OSError: The folder cannot be made there.
    """
    place = Path(os.path.realpath(out))  # a link stays a link
    _check_replaceable(out, place)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(place)
    former = temporary.with_suffix(".old")
    try:
        temporary.mkdir()
        yield temporary
        _flush(temporary)
        _check_replaceable(out, place)  # again: filling it may have taken long
        _exchange(place, temporary, former)
    except DatError as error:  # a hidden folder that is gone by then tells nobody which disk is full
        error.message = error.message.replace(str(temporary), str(out))
        raise
    except OSError as error:
        if str(error.filename).startswith(str(temporary)):
            error.filename = str(out)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def layout_files(folder: Path) -> list[Path]:
    """Those files of a folder that belong to weights and their card."""
    return sorted(each for each in folder.iterdir() if _belongs(each))


def _exchange(place: Path, new: Path, former: Path) -> None:
    """Give a folder its name; whatever interrupts it, Ctrl-C included, the old one or the new one has it."""
    try:
        if place.exists():
            place.rename(former)
        new.rename(place)
    finally:
        if former.exists() and not place.exists():
            former.rename(place)
        shutil.rmtree(former, ignore_errors=True)  # not reached when it could not be put back


def _check_replaceable(out: Path, place: Path) -> None:
    shown = repr(str(out)[-200:])
    if not place.exists():
        return
    if not place.is_dir():
        raise UsageError(f"{shown} is a file", hint="give a new folder")
    if place == Path.cwd() or place in Path.cwd().parents:
        raise UsageError(f"{shown} is the current folder, which cannot be replaced", hint="give a new folder")
    others = sorted(each.name for each in place.iterdir() if not _belongs(each))
    if others:
        raise UsageError(f"{shown} is not empty: it holds {ascii(others[0])[:100]}", hint="give a new folder")


def _belongs(path: Path) -> bool:
    return path.is_file() and (path.name in (CONFIG, CARD) or is_weights_file(path.name))


def _flush(folder: Path) -> None:
    """Bring files and their names to the disk before the folder gets its name."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
