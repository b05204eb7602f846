"""Tables as text: columns as wide as what they hold, for reading and for grep."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from dat_cli.cli.wording import printable

_GAP = "  "


class Column(NamedTuple):
    """A column: its title, and how its numbers are written, such as ``.2f``."""

    title: str
    spec: str = ""


def render_table(columns: Sequence[str | Column], rows: Sequence[Sequence[object]], *, title: str | None = None) -> str:
    """A table as lines of text, the last one ended too.

    Args:
        columns: Titles.
        rows: Values; None is shown as ``-``, booleans as yes and no.
        title: A line above the table.
    """
    shape = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [[_cell(value, column.spec) for value, column in zip(row, shape, strict=True)] for row in rows]
    lines = [[column.title for column in shape], *cells]
    widths = [max(width(line[index]) for line in lines) for index in range(len(shape))]
    numeric = [all(_is_number(row[index]) for row in rows) for index in range(len(shape))]
    padded = (
        _GAP.join(_pad(text, size, right) for text, size, right in zip(line, widths, numeric, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join([*([title] if title else []), *padded, ""])


def width(text: str) -> int:
    """Columns of a terminal that a text fills: two for a Chinese sign, none for an accent that joins another."""
    signs = (sign for sign in text if not unicodedata.combining(sign))
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in signs)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _pad(text: str, size: int, right: bool) -> str:
    space = " " * (size - width(text))
    return space + text if right else text + space


def _cell(value: object, spec: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, spec) if isinstance(value, int | float) else printable(str(value))
