"""Words of a stranger inside Markdown, where they must stay words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

_SIGNS = re.compile(r"[\\`*_\[\]|~$:@#!]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no link, no picture, no HTML, no formula, no end of a table's cell.

    It is meant for the inside of a line or a cell; what is special only at the start of a line stays as it is.
    """
    line = " ".join(text.split())
    line = _SIGNS.sub(lambda sign: f"\\{sign[0]}", line)
    line = "".join(_ENTITIES.get(sign, sign) for sign in line)
    return re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:-1]}\\.", line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(path: str) -> str:
    """A picture of the repository, described by its name."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return f"![{escape(stem.replace('_', ' '))}]({quote(path)})"


def folded(summary: str, body: str) -> str:
    """Markdown that is shown on request; the summary is plain text."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
