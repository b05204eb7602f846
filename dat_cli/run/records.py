"""What is said of one image, and how it is written: as a table, JSON, JSON lines or CSV, one after the other."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TextIO

from rich.cells import cell_len

from dat_cli.data.walk import printable, unicode

Format = Literal["table", "json", "jsonl", "csv"]


@dataclass(frozen=True)
class Guess:
    """One class that an image may show.

    Attributes:
        label: Name of the class.
        index: Its place among the classes.
        probability: Between 0 and 1.
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Record:
    """What is said of one image.

    Attributes:
        number: Its place among all images.
        path: Its path as given.
        predictions: The most probable classes, best first; empty for an image that could not be read, or that has no
            class as probable as was asked for.
        error: Why it could not be read.
    """

    number: int
    path: str
    predictions: tuple[Guess, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values without the number, as JSON shows it."""
        if self.error is not None:
            return {"path": unicode(self.path), "error": unicode(self.error)}
        return {"path": unicode(self.path), "predictions": [asdict(guess) for guess in self.predictions]}

    @classmethod
    def from_line(cls, number: int, line: bytes) -> Record:
        """The record that was written as a line of JSON.

        Raises:
            ValueError: The line holds something else.
        """
        plain = json.loads(line)
        guesses = tuple(Guess(**guess) for guess in plain.get("predictions", ()))
        return cls(number, plain["path"], guesses, plain.get("error"))


class RecordWriter:
    """Writes records to a stream as they come; also counts them.

    Args:
        stream: Where to.
        format: How.
    """

    def __init__(self, stream: TextIO, format: Format) -> None:  # noqa: A002 - the option's name
        self.stream = stream
        self.written = 0
        self.failed = 0
        self._form = {"table": _Table, "json": _Json, "jsonl": _JsonLines, "csv": _Csv}[format](stream)

    def write(self, records: Sequence[Record]) -> None:
        """Write some records, and let whoever reads the stream see them."""
        self._form.write(records)
        self.stream.flush()
        self.written += len(records)
        self.failed += sum(record.error is not None for record in records)

    def finish(self) -> None:
        """Write what belongs after the last record."""
        self._form.finish()
        self.stream.flush()


def line_begins(path: str) -> bytes:
    """How the line of JSON of an image begins in a file of results, whatever is said of it."""
    return json.dumps({"path": unicode(path)}, ensure_ascii=False)[:-1].encode() + b", "


def is_failure(line: bytes) -> bool:
    """Whether a line of JSON is of an image that could not be read: inside of a text its quotes would be escaped."""
    return b', "error": "' in line


class _JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.ascii_only = not (stream.encoding or "utf-8").lower().startswith("utf")

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            self.stream.write(f"{self.to_json(record)}\n")

    def to_json(self, record: Record) -> str:
        return json.dumps(record.to_dict(), ensure_ascii=self.ascii_only, allow_nan=False)

    def finish(self) -> None:
        """Nothing follows."""


class _Json(_JsonLines):
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.separator = "[\n  "

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            self.stream.write(f"{self.separator}{self.to_json(record)}")
            self.separator = ",\n  "

    def finish(self) -> None:
        self.stream.write("\n]\n" if self.separator.startswith(",") else "[]\n")


class _Csv(_JsonLines):
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.rows = csv.writer(_Lines(stream))  # whose own end of a line makes it quote both signs of one
        self.rows.writerow(("path", "rank", "label", "probability"))

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            for rank, guess in enumerate(record.predictions, start=1):
                self.rows.writerow((unicode(record.path), rank, guess.label, guess.probability))
            if not record.predictions and record.error is None:
                self.rows.writerow((unicode(record.path), "", "", ""))


class _Lines:
    """Ends each row as other lines of text end."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, row: str) -> None:
        self.stream.write(row.removesuffix("\r\n") + "\n")


class _Table(_JsonLines):
    """Columns as wide as the first batch wants them: waiting for the widest name of all would end the stream."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.widths: tuple[int, int] | None = None

    def write(self, records: Sequence[Record]) -> None:
        rows = [row for record in records for row in _rows(record)]
        if self.widths is None and rows:
            header = ("image", "class", "probability")
            first, second = (max(cell_len(row[column]) for row in (header, *rows)) for column in (0, 1))
            self.widths = (first, second)
            rows.insert(0, header)
        for row in rows:
            self.stream.write(self._line(row))

    def _line(self, row: tuple[str, str, str]) -> str:
        cells = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row[:2], self.widths or (0, 0), strict=True)
        ]
        return "  ".join((*cells, f"{row[2]:>11}")).rstrip() + "\n"


def _rows(record: Record) -> list[tuple[str, str, str]]:
    path = printable(record.path)
    if record.error is not None:
        return [(path, "(cannot be read)", "")]
    if not record.predictions:
        return [(path, "(no class is probable enough)", "")]
    return [
        (path if rank == 0 else "", guess.label, f"{100 * guess.probability:.1f} %")
        for rank, guess in enumerate(record.predictions)
    ]
