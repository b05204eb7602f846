"""Data goes to stdout, talk to stderr.

What is printed is plain text when nobody watches: no escape codes without a terminal or with ``NO_COLOR``,
and no column cut to the width of a terminal that is not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dat_cli.cli.logs import quiet_libraries, set_up_logging
from dat_cli.cli.tables import Column, render_table
from dat_cli.cli.writers import Format, Writer, open_writer, resolve_format, to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Column",
    "Format",
    "Writer",
    "open_writer",
    "print_json",
    "print_table",
    "quiet_libraries",
    "resolve_format",
    "set_up_logging",
    "talk",
]


def print_table(columns: Sequence[str | Column], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table to stdout; None is shown as ``-``, numbers stand to the right."""
    sys.stdout.write(render_table(columns, rows, title=title))


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document to stdout; numbers that JSON lacks become null."""
    sys.stdout.write(to_json(value, sys.stdout, indent=2) + "\n")


def talk() -> Console:
    """The console for progress bars and whatever else is not a result."""
    from rich.console import Console  # 0.15 s, which a mistyped command need not wait for

    return Console(stderr=True, highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")
