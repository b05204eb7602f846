"""Results on the disk before they are whole: what is written so far, by one process or several."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.run.part_lock import locked
from dat_cli.run.part_note import Note
from dat_cli.run.part_shares import Shares
from dat_cli.run.records import Record, RecordWriter, is_failure
from dat_cli.run.resume import keep_whole_batches

_log = logging.getLogger("dat.predict")


class Part:
    """The results so far, one line of JSON for each image, beside the file that they become.

    They stand in ``names.csv.part``, and ``names.csv.part.json`` says what makes them. Each of several processes
    writes a file of its own, and the first, which alone has claimed the part, puts them together when all are done.

    Args:
        place: The file of the results so far.
        batch_size: Images in a batch, which one process does in turn with the others.
        made_by: What decides the results, by names that a person knows; JSON.

    Attributes:
        done: Images at the beginning that are not to be done again.
    """

    def __init__(self, place: Path, *, batch_size: int, made_by: Mapping[str, Any] | None = None) -> None:
        self.place = place
        self.done = 0
        self._note = Note(dict(made_by or {}), batch_size)
        self._shares = Shares(place)

    @classmethod
    def beside(cls, output: Path, *, batch_size: int, made_by: Mapping[str, Any]) -> Part:
        """That of a file of results, as a process knows it that leaves the files to the first."""
        place = Path(os.path.realpath(output))  # a link stays a link
        return cls(place.with_name(f"{place.name}.part"), batch_size=batch_size, made_by=made_by)

    @contextmanager
    def claimed(self, paths: Iterable[str], *, resume: bool) -> Iterator[None]:
        """Keep other commands away, and see what an earlier one has left; in the end, nothing stays of an empty part.

        Args:
            paths: All images in order.
            resume: Whether to go on with what is there.

        Raises:
            UsageError: Other weights or options made what is there, or nobody said what to do with it.
            DataError: The images are others.
            DatError: Another command is writing there.
        """
        with locked(self.place):
            if not self.place.exists():
                self._shares.remove()  # of a part that somebody has removed
                if resume:
                    _log.info("there is no %s to go on with: beginning", printable(self.place))
            elif resume:
                self._go_on(paths)
            else:
                name = printable(self.place)
                hint = f"go on with --resume true, or remove {name} to begin anew"
                raise UsageError(f"{name} has results of a prediction that was interrupted", hint=hint)
            try:
                yield
            finally:
                if self.is_empty():
                    self.discard()

    def begin(self, processes: int) -> None:
        """Say on the disk who writes; the first process does so before all of them ``open``.

        Raises:
            OSError: Nothing can be written there.
        """
        after = self.place.stat().st_size if self.place.exists() else 0
        self._note = replace(self._note, processes=processes, after=after)
        self._shares.create(processes if processes > 1 else 0)  # before the note, which promises them
        self._note.write(self._note_place)
        self.place.touch()

    def agree(self, broadcast: Callable[[tuple[Path, int]], tuple[Path, int]]) -> None:
        """Let all processes know where the first one has the part, and what is done."""
        self.place, self.done = broadcast((self.place, self.done))
        self._shares = Shares(self.place)

    def open(self, rank: int, processes: int) -> TextIO:
        """The stream that a process writes lines of JSON to."""
        place = self.place if processes == 1 else self._shares.of(rank)
        return place.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")

    def gather(self) -> None:
        """Put together what all processes have written.

        Raises:
            DatError: The file of one is gone, or not all of them fit together.
        """
        self._gather(self._note, all_done=True)

    def copy_to(self, writer: RecordWriter) -> None:
        """Write all results once more, in another form."""
        with self.place.open("rb") as file:
            records = (Record.from_line(number, line) for number, line in enumerate(file))
            while some := list(islice(records, self._note.batch_size)):
                writer.write(some)
        writer.finish()

    def count(self) -> tuple[int, int]:
        """How many images are written, and how many of them could not be read."""
        written = failed = 0
        with self.place.open("rb") as file:
            for line in file:
                written += 1
                failed += is_failure(line)
        return written, failed

    def become(self, output: Path) -> None:
        """Give the results, as they are, the name that they are for."""
        place = Path(os.path.realpath(output))
        with self.place.open("rb") as file:
            os.fsync(file.fileno())
        if place.exists():
            self.place.chmod(place.stat().st_mode & 0o777)
        self.place.replace(place)

    def is_empty(self) -> bool:
        """Whether no results are written, or they have left."""
        return not any(place.exists() and place.stat().st_size for place in (self.place, *self._shares.found()))

    def discard(self) -> None:
        """Leave nothing behind."""
        self.place.unlink(missing_ok=True)  # first: without it, nobody goes on with the rest
        self._shares.remove()
        self._note_place.unlink(missing_ok=True)

    @property
    def _note_place(self) -> Path:
        return self.place.with_name(f"{self.place.name}.json")

    def _go_on(self, paths: Iterable[str]) -> None:
        before = Note.read(self._note_place)
        before.refuse_others(self._note.made_by, self.place)
        self._gather(before)
        self.done = keep_whole_batches(self.place, paths, self._note.batch_size)
        _log.info("going on after %d images in %s", self.done, printable(self.place))

    def _gather(self, note: Note, *, all_done: bool = False) -> None:
        if note.processes > 1:
            with self.place.open("r+b") as file:
                taken = self._shares.gather(file, note)
            if all_done and taken != sum(share.stat().st_size for share in self._shares.found()):
                raise DatError("some processes have written more images than others before them", hint="begin anew")
            replace(note, processes=1, after=0).write(self._note_place)
        self._shares.remove()
