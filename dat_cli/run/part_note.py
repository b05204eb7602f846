"""What made the results that are not whole yet, beside them on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dat_cli.data.walk import printable
from dat_cli.errors import UsageError
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

    def refuse_others(self, made_by: Mapping[str, Any], part: Path) -> None:
        """See to it that what goes on is what began.

        Args:
            made_by: What would decide the results now.
            part: What this is the note of.

        Raises:
            UsageError: Something else would.
        """
        for name in sorted({*self.made_by, *made_by}):
            before, now = self.made_by.get(name), made_by.get(name)
            if before != now:
                raise UsageError(
                    f"{printable(part)} was made {_said(name, before)}, not {_said(name, now)}",
                    hint="give what it was made with, or remove it to begin anew",
                )


def _said(name: str, value: object) -> str:
    return f"without {name}" if value is None else f"with {name} {printable(str(value))[:64]}"
