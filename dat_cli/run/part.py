"""Results on the disk before they are whole: what is written so far, by one process or several."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from io import BufferedRandom
from itertools import cycle, islice
from pathlib import Path
from typing import IO, Any, TextIO

from dat_cli.run.part_note import Note, lock
from dat_cli.run.records import Record, RecordWriter, is_failure

END = b"}\n"
"""How a line ends that is whole."""


class Part:
    """The results so far, one line of JSON for each image, beside the file that they become.

    They stand in ``names.csv.part``, and ``names.csv.part.json`` says what makes them. Each of several processes
    writes a file of its own, ``names.csv.part.0`` and so on, and the first puts them together when all are done.

    Args:
        place: The file of the results so far.
        batch_size: Images in a batch, which one process does in turn with the others.
        made_by: What decides the results, by names that a person knows; JSON.
    """

    def __init__(self, place: Path, *, batch_size: int = 1, made_by: Mapping[str, Any] | None = None) -> None:
        self.place = place
        self.note = Note(dict(made_by or {}), batch_size)
        self.done = 0
        """Images at the beginning that are not to be done again."""
        self._held: IO[bytes] | None = None

    @classmethod
    def beside(cls, output: Path, *, batch_size: int, made_by: Mapping[str, Any]) -> Part:
        """That of a file of results."""
        place = Path(os.path.realpath(output))  # a link stays a link
        return cls(place.with_name(f"{place.name}.part"), batch_size=batch_size, made_by=made_by)

    @property
    def note_place(self) -> Path:
        """Where it stands what makes the part."""
        return self.place.with_name(f"{self.place.name}.json")

    def begin(self, processes: int) -> None:
        """Say on the disk who writes; the first process does so before all of them ``open``.

        Raises:
            DatError: Another command is writing there.
            OSError: Nothing can be written there.
        """
        after = self.place.stat().st_size if self.place.exists() else 0
        self._remove_shares()
        self.note = replace(self.note, processes=processes, after=after)
        self.note.write(self.note_place)
        self._held = self.place.open("ab")
        lock(self._held, self.place)

    def open(self, rank: int, processes: int) -> TextIO:
        """The stream that a process writes lines of JSON to."""
        place = self.place if processes == 1 else self._share(rank)
        return place.open("a", encoding="utf-8", errors="backslashreplace", newline="\n")

    def gather(self, file: BufferedRandom) -> None:
        """Put what several processes wrote behind what was there before, up to the first batch that is missing.

        It can be done again when it was interrupted.

        Args:
            file: The part, open for reading and writing.
        """
        if self.note.processes == 1:
            return
        file.truncate(self.note.after)
        file.seek(self.note.after)
        with ExitStack() as opened:
            shares: list[IO[bytes]] = []
            for rank in range(self.note.processes):
                self._share(rank).touch()  # one may have been stopped before it was there
                shares.append(opened.enter_context(self._share(rank).open("rb")))
            for share in cycle(shares):
                lines = [line for line in islice(share, self.note.batch_size) if line.endswith(END)]
                file.writelines(lines)
                if len(lines) < self.note.batch_size:
                    break
        file.flush()
        os.fsync(file.fileno())
        self.note = replace(self.note, processes=1, after=0)
        self.note.write(self.note_place)
        self._remove_shares()

    def copy_to(self, writer: RecordWriter) -> None:
        """Write all results once more, in another form."""
        with self.place.open("rb") as file:
            records = (Record.from_line(number, line) for number, line in enumerate(file))
            while some := list(islice(records, self.note.batch_size)):
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
        self.remove()

    def is_empty(self) -> bool:
        """Whether nothing is written."""
        return not any(place.exists() and place.stat().st_size for place in (self.place, *self._shares()))

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._held is not None:
            self._held.close()
        self._remove_shares()
        for place in (self.place, self.note_place):
            place.unlink(missing_ok=True)

    def _share(self, rank: int) -> Path:
        return self.place.with_name(f"{self.place.name}.{rank}")

    def _shares(self) -> Iterator[Path]:
        for place in self.place.parent.glob(f"{glob.escape(self.place.name)}.*"):
            if place.suffix[1:].isdigit():
                yield place

    def _remove_shares(self) -> None:
        for place in list(self._shares()):
            place.unlink(missing_ok=True)
