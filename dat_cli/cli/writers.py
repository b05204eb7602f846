"""Writers of records: to stdout or, all or nothing, to a file; one record at a time, so that memory stays flat."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, get_args

from dat_cli.cli.files import AtomicFile, StandardOutput
from dat_cli.cli.tables import Column, column_widths, render_table
from dat_cli.errors import UsageError

Format = Literal["table", "json", "jsonl", "csv"]
Record = Mapping[str, Any]
_CHUNK = 100  # records of a table that are held to find the widths of its columns


class Writer(ABC):
    """Writes records; leaving the ``with`` block by an exception leaves no file behind.

    Args:
        target: Where the text goes.
        columns: Keys in the order in which they are shown, with their titles in a table; by default the keys of
            the first record.
    """

    def __init__(self, target: StandardOutput | AtomicFile, columns: Mapping[str, str | Column] | None = None) -> None:
        self._target = target
        self._columns = columns

    @property
    def _stream(self) -> TextIO:
        return self._target.stream

    @abstractmethod
    def write(self, record: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Finish, and put the file in its place."""
        self._finish()
        self._target.commit()

    def _finish(self) -> None:
        """Write what stands after the last record."""
        self._stream.flush()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._target.abort()
            return
        try:
            self.close()
        except BaseException:
            self._target.abort()
            raise


class JsonLinesWriter(Writer):
    """One JSON object a line, each of them sent on at once."""

    def write(self, record: Record) -> None:
        """Write one line."""
        self._stream.write(to_json(record, self._stream) + "\n")
        self._stream.flush()


class JsonWriter(Writer):
    """One JSON array, an object a line."""

    _count = 0

    def write(self, record: Record) -> None:
        """Write one element."""
        self._stream.write(("[\n" if self._count == 0 else ",\n") + to_json(record, self._stream))
        self._count += 1

    def _finish(self) -> None:
        self._stream.write("\n]\n" if self._count else "[]\n")


class CsvWriter(Writer):
    """Comma-separated values with a header; a list or mapping in a cell is JSON."""

    _writer: Any = None

    def write(self, record: Record) -> None:
        """Write one row."""
        if self._writer is None:
            self._start(list(self._columns or record))
        self._writer.writerow({key: self._cell(value) for key, value in record.items()})

    def _start(self, keys: list[str]) -> None:
        self._writer = csv.DictWriter(self._stream, keys, restval="", extrasaction="raise", lineterminator="\n")
        self._writer.writeheader()

    def _cell(self, value: object) -> object:
        return to_json(value, self._stream) if isinstance(value, Mapping | list | tuple | bool) else value

    def _finish(self) -> None:
        if self._writer is None and self._columns:
            self._start(list(self._columns))


class TableWriter(Writer):
    """A table; the first records decide how wide its columns are."""

    def __init__(self, target: StandardOutput | AtomicFile, columns: Mapping[str, str | Column] | None = None) -> None:
        super().__init__(target, columns)
        self._held: list[Record] = []
        self._widths: list[int] = []

    def write(self, record: Record) -> None:
        """Hold one row, or write those that are held."""
        self._held.append(record)
        if len(self._held) == _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._columns is None:
            self._columns = {key: key for key in (self._held[0] if self._held else {})}
        titles = list(self._columns.values())
        rows = [[record.get(key) for key in self._columns] for record in self._held]
        first = not self._widths
        if first:
            self._widths = column_widths(titles, rows)
        if rows or (first and titles):
            self._stream.write(render_table(titles, rows, header=first, widths=self._widths))
            self._stream.flush()
        self._held.clear()

    def _finish(self) -> None:
        self._flush()


_WRITERS: dict[Format, type[Writer]] = {
    "table": TableWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "csv": CsvWriter,
}


def open_writer(
    form: Format, output: str | Path | None = None, *, columns: Mapping[str, str | Column] | None = None
) -> Writer:
    """A writer to stdout, or to a file that appears under its name only when it is complete.

    Raises:
        UsageError: The file cannot be written there.
    """
    return _WRITERS[form](StandardOutput() if output is None else AtomicFile(Path(output)), columns)


def resolve_format(form: Format | None, output: str | Path | None) -> Format:
    """The format given, else that of the file's suffix, else a table.

    Raises:
        UsageError: The suffix says nothing.
    """
    if form is not None:
        return form
    if output is None:
        return "table"
    suffix = Path(output).suffix.lower().lstrip(".")
    formats: dict[str, Format] = {"ndjson": "jsonl", "txt": "table", **{name: name for name in get_args(Format)}}
    if suffix not in formats:
        raise UsageError(f"the name {str(output)!r} does not say the format", hint="add --format json, jsonl or csv")
    return formats[suffix]


def to_json(value: object, stream: TextIO = sys.stdout, *, indent: int | None = None) -> str:
    """JSON that any reader takes: no NaN or infinity, and only signs that the stream can carry."""
    ascii_only = not (stream.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    options: dict[str, Any] = {"ensure_ascii": ascii_only, "allow_nan": False, "indent": indent, "default": _plain}
    try:
        return json.dumps(value, **options)
    except ValueError:
        return json.dumps(_finite(value), **options)


def _plain(value: Any) -> object:
    """Numbers of numpy and torch as Python's, paths as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return _finite(value.item())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
