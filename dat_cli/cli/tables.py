"""Tables as text: columns as wide as what they hold, for reading and for grep."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dat_cli.cli.wording import printable

_NO_LIMIT = 100_000  # signs; the width of a pipe


class Column(NamedTuple):
    """A column: its title, and how its numbers are written, such as ``.2f``."""

    title: str
    spec: str = ""


def render_table(
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    header: bool = True,
    widths: Sequence[int] = (),
) -> str:
    """A table as it is written to stdout.

    Args:
        columns: Titles.
        rows: Values; None is shown as ``-``, booleans as yes and no.
        title: A line above the table.
        header: Whether the titles are shown; not when a table goes on.
        widths: Least width of each column.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=header, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(map(_column, columns)):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        width = widths[index] if widths else None
        table.add_column(Text(column.title), justify="right" if numeric else "left", min_width=width, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value, _column(column))) for value, column in zip(row, columns, strict=True)))
    on_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        width=None if on_terminal else _NO_LIMIT,
        color_system="auto" if on_terminal and not os.environ.get("NO_COLOR") else None,
    )
    with console.capture() as captured:  # a closed pipe is the wall's business, rich would end the process
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "\n".join([*([title] if title else []), *lines, ""])


def column_widths(columns: Sequence[str | Column], rows: Sequence[Sequence[object]]) -> list[int]:
    """Width of each column, for a table that goes on."""
    from rich.cells import cell_len

    titles = [_column(column) for column in columns]
    cells = [[_cell(value, column) for value, column in zip(row, titles, strict=True)] for row in rows]
    return [max(map(cell_len, [column.title, *(row[index] for row in cells)])) for index, column in enumerate(titles)]


def _column(column: str | Column) -> Column:
    return Column(column) if isinstance(column, str) else column


def _cell(value: object, column: Column) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, column.spec) if isinstance(value, int | float) else printable(str(value))
