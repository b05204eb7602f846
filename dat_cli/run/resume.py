"""Go on with a prediction that was interrupted, or refuse in words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from io import BufferedRandom
from itertools import islice

from dat_cli.data.remote_file import shown
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError
from dat_cli.run.part import END, Part
from dat_cli.run.part_note import Note, lock
from dat_cli.run.records import line_begins

_log = logging.getLogger("dat.predict")


class Remaining:
    """The images that are not done yet.

    Args:
        paths: All images, in order.
        part: What knows how many are done, when one iterates.
    """

    def __init__(self, paths: Iterable[str], part: Part) -> None:
        self.paths = paths
        self.part = part

    def __iter__(self) -> Iterator[str]:
        """Yield those after the ones that are done."""
        return islice(iter(self.paths), self.part.done, None)


def refuse_to_overwrite(part: Part) -> None:
    """See to it that no results are thrown away.

    Raises:
        UsageError: There are some of a prediction that did not end.
    """
    if part.place.exists():
        name = printable(part.place)
        hint = f"go on with --resume true, or remove {name} to begin anew"
        raise UsageError(f"{name} has results of a prediction that was interrupted", hint=hint)


def go_on(part: Part, paths: Iterable[str]) -> None:
    """Take what is written as done, but for the last batch where that is not whole.

    A batch is done again as a whole, because what a network finds depends in its last digits on what else is in a
    batch: so the result is that of an undisturbed run.

    Args:
        part: Where there may be results.
        paths: All images in order, of which those that are done come first.

    Raises:
        UsageError: Other weights or options made what is there.
        DataError: The images are others.
        DatError: Another command is writing there.
    """
    if not part.place.exists():
        _log.info("there is no %s to go on with: beginning", printable(part.place))
        return
    note = Note.read(part.note_place)
    for name in sorted({*note.made_by, *part.note.made_by}):
        before, now = note.made_by.get(name), part.note.made_by.get(name)
        if before != now:
            raise UsageError(
                f"{printable(part.place)} was made with {_said(name, before)}, not {_said(name, now)}",
                hint="give what it was made with, or remove it to begin anew",
            )
    batch_size = part.note.batch_size
    with part.place.open("r+b") as file:
        lock(file, part.place)
        part.note = note
        part.gather(file)
        part.done = _cut(file, part, paths, batch_size)
        part.note = Note(note.made_by, batch_size)
    _log.info("going on after %d images in %s", part.done, printable(part.place))


def _cut(file: BufferedRandom, part: Part, paths: Iterable[str], batch_size: int) -> int:
    """Compare the lines with the images, cut off what follows the last whole batch, and count what is left."""
    file.seek(0)
    expected, position, done, end = iter(paths), 0, 0, 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(END):
            break
        path = next(expected, None)
        if path is None or not line.startswith(line_begins(path)):
            found = "there is no such image now" if path is None else f"it is {shown(path)} now"
            raise DataError(
                f"cannot go on with {printable(part.place)}: image {number} is another than before ({found})",
                hint=f"give the same images in the same order, or remove {printable(part.place.name)} to begin anew",
            )
        position += len(line)
        if number % batch_size == 0:
            done, end = number, position
    file.truncate(end)
    file.flush()
    os.fsync(file.fileno())
    return done


def _said(name: str, value: object) -> str:
    return f"{name} {printable(str(value))[:64]}"
