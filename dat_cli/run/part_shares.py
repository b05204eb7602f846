"""What each of several processes writes, until the first one puts it together."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedRandom
from itertools import cycle, islice
from pathlib import Path

from dat_cli.data.walk import printable
from dat_cli.errors import DatError
from dat_cli.run.part_note import Note
from dat_cli.run.resume import END


class Shares:
    """Files beside a part: ``names.csv.part.0`` for the first process, and so on.

    Args:
        place: The part.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def of(self, rank: int) -> Path:
        """That of one process."""
        return self.place.with_name(f"{self.place.name}.{rank}")

    def create(self, processes: int) -> None:
        """Let there be an empty one for each process, and no other."""
        self.remove()
        for rank in range(processes):
            self.of(rank).touch()

    def gather(self, file: BufferedRandom, note: Note) -> int:
        """Put them, batch after batch in turn, behind what was in the part before, up to the first that is missing.

        It can be done again when it was interrupted.

        Args:
            file: The part, open for reading and writing.
            note: How many there are, and how they were written.

        Returns:
            Bytes that were put there.

        Raises:
            DatError: One is gone.
        """
        file.truncate(note.after)
        file.seek(note.after)
        with ExitStack() as opened:
            try:
                shares = [opened.enter_context(self.of(rank).open("rb")) for rank in range(note.processes)]
            except FileNotFoundError as error:
                raise DatError(
                    f"{printable(error.filename)}, which held a part of the results, is gone",
                    hint=f"remove {printable(self.place)} to begin anew",
                ) from error
            for share in cycle(shares):
                lines = [line for line in islice(share, note.batch_size) if line.endswith(END)]
                file.writelines(lines)
                if len(lines) < note.batch_size:
                    break
        file.flush()
        os.fsync(file.fileno())
        return file.tell() - note.after

    def found(self) -> Iterator[Path]:
        """Those that are there, whoever left them."""
        for place in self.place.parent.glob(f"{glob.escape(self.place.name)}.*"):
            if place.suffix[1:].isdigit():
                yield place

    def remove(self) -> None:
        """Leave none behind."""
        for place in list(self.found()):
            place.unlink(missing_ok=True)
