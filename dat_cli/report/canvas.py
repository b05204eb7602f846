"""Figures without a screen: SVG that takes its colours from the page around it, and pictures."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dat_cli.data.walk import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1f2328"
"""Colour of text and axes; in an SVG it becomes that of the text around."""
QUIET = "#8c959f"
"""Colour of lines that guide the eye; readable on white and on black, as all that follow."""
BLUE, ORANGE, TEAL, PURPLE, RED = "#3b82c4", "#e0813a", "#1d9a8a", "#8e6cc9", "#d9534f"

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": QUIET,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",  # text stays text
}
_ALONE = (
    "<style>svg{color:#1f2328;background:#ffffff}"
    "@media (prefers-color-scheme:dark){svg{color:#e6edf3;background:#16191d}}</style>"
)


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw in our style.

    Args:
        name: Of the figure; figures of different names can stand in one page.
    """
    import matplotlib as mpl

    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a browser has it
        yield


def as_svg(figure: Figure) -> str:
    """A figure as an ``svg`` element that fills its place in a page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="\w+_\d+"(/?)>', r"<g\1>", text)  # these would stand twice in a page of several figures
    text = text.replace("'DejaVu Sans'", _FONT).replace("font-family: DejaVu Sans", f"font-family: {_FONT}")
    return text.replace(INK, "currentColor").strip()


def alone(svg: str) -> str:
    """The same as a file of its own, light or dark as the viewer is."""
    head, _, rest = svg.partition(">")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}>{_ALONE}{rest}\n'


def short(name: str, longest: int = 22) -> str:
    """The name of a class as a label: one line, its middle left out when it is long."""
    text = printable(name)
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - half]}…{text[-half:]}"
