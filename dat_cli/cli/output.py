"""Data goes to stdout, talk to stderr.

Data is plain text, the same on a terminal, in a pipe and in a file: no escape codes, no column cut to a width.
``dat`` loggers and ``talk`` are the two ways to say anything else.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from dat_cli.cli.logs import quiet_libraries, set_up_logging
from dat_cli.cli.tables import Column, render_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Column", "print_csv", "print_json", "print_table", "quiet_libraries", "set_up_logging", "talk", "to_json"]


def print_table(columns: Sequence[str | Column], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table; None is shown as ``-``, numbers stand to the right."""
    sys.stdout.write(render_table(columns, rows, title=title))


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document; numbers that JSON lacks become null."""
    sys.stdout.write(to_json(value, sys.stdout, indent=2) + "\n")


def print_csv(records: Sequence[Mapping[str, Any]]) -> None:
    """Print records of the same keys as comma-separated values with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(records[0])
    for record in records:
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in record.values()])


def talk() -> Console:
    """The console for progress bars and whatever else moves, on stderr."""
    from rich.console import Console  # 0.15 s, which a mistyped command need not wait for

    return Console(stderr=True, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def to_json(value: object, stream: TextIO, *, indent: int | None = None) -> str:
    """JSON that any reader takes: no NaN or infinity, and only signs that the stream can carry.

    Raises:
        TypeError: A value is not made of plain types.
    """
    ascii_only = not (stream.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(_finite(value), ensure_ascii=ascii_only, allow_nan=False, indent=indent)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
