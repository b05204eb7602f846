"""What made the results that are not whole yet, beside them on the disk; and that one command alone writes them."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.whole import whole_file


@dataclass(frozen=True)
class Note:
    """What is known of a part.

    Attributes:
        made_by: What decides the results, by names that a person knows; JSON.
        batch_size: Images in a batch.
        processes: How many write.
        after: Bytes of the part that were there before several processes began, each with a file of its own.
    """

    made_by: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    processes: int = 1
    after: int = 0

    @classmethod
    def read(cls, place: Path) -> Note:
        """What the disk says.

        Raises:
            UsageError: Nothing that one can go on with.
        """
        try:
            note = cls(**json.loads(place.read_bytes()))
            if isinstance(note.made_by, dict) and min(note.batch_size, note.processes, note.after + 1) > 0:
                return note
        except (OSError, ValueError, TypeError, RecursionError):
            pass
        raise UsageError(
            f"cannot go on: {printable(place)}, which says what made {printable(place.stem)}, is missing or damaged",
            hint="remove both to begin anew",
        )

    def write(self, place: Path) -> None:
        """Say it on the disk, whole or not at all.

        Raises:
            OSError: Nothing can be written there.
        """
        with whole_file(place) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def lock(stream: IO[Any], place: Path) -> None:
    """Keep other commands from writing a file for as long as this process has it open, and open once.

    Raises:
        DatError: One does.
    """
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which workers that outlive us would hold
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise DatError(f"another command is writing {printable(place)}", hint="wait for it, or stop it") from error
