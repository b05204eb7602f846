"""The sheet that all pictures share: a photograph in panels, with titles and a legend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dat_cli.data.geometry import View
from dat_cli.interpret.pictures.writing import inches, wrapped
from dat_cli.report.canvas import INK, alone, as_svg, drawing
from dat_cli.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

DARK = "#101418"
"""What is dark on a photograph, and stays so where INK becomes light."""
QUIET_TEXT = "#6b737c"
"""Text beside a title."""
LEFT = 0.48
"""Inches from the left border to the first panel."""
LINE = 0.24
"""Inches of a line of the legend."""

_MARK = "dat explain"
_SVG_MARK = f"<!-- {_MARK} -->"
_CLOSED = (1, 2, 2, 2, 79)  # matplotlib's codes of a path: move, line, line, line, close


@dataclass(frozen=True)
class Sheet:
    """Panels that show one photograph.

    Attributes:
        figure: All of it.
        panels: The axes in order, in pixels of the photograph.
        points: Printer's points that one pixel of the photograph is wide.
        pixels: (height, width, 3), the photograph as small as it is shown.
        photo: (width, height) of the photograph itself.
        legend: Inches from the bottom to the first line of the legend.
        slot: Inches that a panel has in its row.
        lines: Lines under the title of a panel.
    """

    figure: Figure
    panels: list[Axes]
    points: float
    pixels: np.ndarray[Any, Any]
    photo: tuple[int, int]
    legend: float
    slot: float
    lines: int

    def show(self, axes: Axes, view: View | None = None, grey: float = 0.0, light: float = 0.0) -> None:
        """Lay the photograph under a panel.

        Args:
            axes: The panel.
            view: What was cut off is dimmed, the rest outlined.
            grey: How much of the colour is taken away, so that what lies over it is seen: 0 to 1.
            light: How far it is bleached: 0 to 1.
        """
        pixels = self.pixels.astype(np.float32) / 255
        pixels += grey * (pixels @ np.array([0.299, 0.587, 0.114], np.float32)[..., None] - pixels)
        pixels += light * (1 - pixels)
        width, height = self.photo
        shown = self.points * self.figure.dpi / 72  # pixels of the screen
        axes.imshow(
            np.clip(pixels, 0, 1),
            extent=(0, width, height, 0),
            interpolation="nearest" if shown > 3 else "antialiased",
            aspect="auto",
            zorder=0,
        )
        if view is not None:
            _outline(axes, view, self.photo)

    def caption(self, axes: Axes, titles: Sequence[str], right: str = "", below: str = "") -> None:
        """A panel's title, and quiet lines under it.

        Args:
            axes: The panel.
            titles: The first that fits is taken.
            right: What stands at the right end of the title, where there is room.
            below: Under it.
        """
        wide = axes.bbox.width / self.figure.dpi - inches(right, 7.5) - 0.1
        with_right = [title for title in titles if right and inches(title, 8.5, bold=True) <= wide]
        fitting = [title for title in titles if inches(title, 8.5, bold=True) <= self.slot]
        top = 4 + self.lines * 11
        self._above(axes, [*with_right, *fitting, titles[-1]][0], 0, top, size=8.5, color=INK, weight="bold")
        if with_right:
            self._above(axes, right, 1, top, size=7.5, color=QUIET_TEXT, ha="right")
        for index, line in enumerate(wrapped(below, self.slot)):
            self._above(axes, line, 0, top - (index + 1) * 11, size=7.5, color=QUIET_TEXT)

    @staticmethod
    def _above(axes: Axes, text: str, x: int, points: float, **style: Any) -> None:
        axes.annotate(
            text,
            (x, 1),
            (0, points),
            xycoords="axes fraction",
            textcoords="offset points",
            annotation_clip=False,
            **style,
        )

    def line(self, index: int) -> float:
        """Inches from the bottom to the middle of a line of the legend, 0 the uppermost."""
        return self.legend - index * LINE

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text at inches from the left and the bottom."""
        width, height = self.figure.get_size_inches()
        self.figure.text(x / width, y / height, text, size=8, va="center", **style)

    def explain(self, line: int, title: str, marks: Sequence[Line2D]) -> None:
        """A line of the legend under the panels.

        Args:
            line: From 0, the uppermost.
            title: What stands before it.
            marks: What is explained, each with its label.
        """
        x, y = LEFT, self.line(line)
        width, height = self.figure.get_size_inches()
        if title:
            self.write(x, y, title, color=INK, weight="bold")
            x += inches(title, 8, bold=True) + 0.12
        for mark in marks:
            room = max(float(mark.get_markersize()), 6) / 72
            mark.set_data([(x + room / 2) / width], [y / height])
            mark.set_transform(self.figure.transFigure)
            self.figure.add_artist(mark)
            label = str(mark.get_label())
            self.write(x + room + 0.05, y, label, color=INK)
            x += room + 0.05 + inches(label, 8) + 0.16


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that ``save_picture`` wrote."""
    if not path.is_file():
        return False
    try:
        if path.suffix.lower() == ".svg":
            return path.read_text(encoding="utf-8", errors="replace").rstrip().endswith(_SVG_MARK)
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get("Software") == _MARK
    except (OSError, SyntaxError, ValueError):  # SyntaxError: Pillow's, of a damaged PNG
        return False


def save_picture(figure: Figure, path: Path, size: int) -> None:
    """Write a picture, PNG or SVG by the ending of its name; whole or not at all.

    Args:
        figure: What one of the draw functions returned.
        path: Where; replaced if it is there.
        size: Pixels of the longer side.
    """
    inch = size / max(figure.get_size_inches())
    with drawing(path.stem), whole_file(path) as place:
        if path.suffix.lower() == ".svg":
            figure.set_facecolor("none")  # light or dark as the viewer is
            width, height = np.round(figure.get_size_inches() * inch).astype(int).tolist()
            svg = re.sub(r'width="\S+" height="\S+"', f'width="{width}" height="{height}"', as_svg(figure), count=1)
            place.write_text(f"{alone(svg)}{_SVG_MARK}\n", encoding="utf-8")
        else:
            figure.savefig(place, format="png", dpi=inch, metadata={"Software": _MARK})


def _outline(axes: Axes, view: View, photo: tuple[int, int]) -> None:
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path as Outline

    left, top, right, bottom = np.clip(view.box, 0, [*photo, *photo]).tolist()
    if (left, top, right, bottom) == (0, 0, *photo):
        return
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], float)
    hole = square[::-1] * (right - left, bottom - top) + (left, top)
    ring = Outline(np.concatenate([square * photo, hole]), [*_CLOSED, *_CLOSED])
    axes.add_patch(PathPatch(ring, facecolor="white", alpha=0.62, linewidth=0, zorder=0.5))
    large = axes.bbox.width / axes.figure.dpi > 3  # inches
    for colour, width in ((DARK, 1.4 if large else 0.9), ("white", 0.7 if large else 0.4)):
        frame = Rectangle((left, top), right - left, bottom - top)
        frame.set(fill=False, edgecolor=colour, linewidth=width, zorder=0.6)
        axes.add_patch(frame)
