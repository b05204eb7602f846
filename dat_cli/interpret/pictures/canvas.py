"""The sheet that all pictures share: the photograph in panels, its axes in pixels, room for titles and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dat_cli.data.geometry import View
from dat_cli.report.canvas import INK, QUIET, alone, as_svg, drawing
from dat_cli.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

DARK = "#101418"
"""What is dark on a photograph, and stays so where INK becomes light."""
LEFT = 0.48
"""Inches from the left border to the first panel."""
LONGEST = 9.0
"""Inches of a picture's longer side: at 900 pixels all text is as large as that of a page."""

_NARROWEST = 6.9  # inches; titles and legends fit
_RIGHT, _TOP, _BOTTOM, _GAP = 0.12, 0.46, 0.30, 0.14  # inches
QUIET_TEXT = "#6b737c"
"""Text beside a title."""
_NEARLY = 0.88  # of the largest panels possible: more columns make a lower picture
_LINE = 0.24  # inches; a line of a legend, or of a panel's caption


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
        shown = self.points * axes.figure.dpi / 72  # pixels of the screen
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
        room = axes.bbox.width / self.figure.dpi - (inches(right, 7.5) + 0.1 if right else 0)
        fitting = [title for title in titles if inches(title, 8.5, bold=True) <= room]
        top = 4 + self.lines * 11
        self._above(axes, fitting[0] if fitting else titles[-1], 0, top, size=8.5, color=INK, weight="bold")
        if fitting and right:
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
        return self.legend - index * _LINE

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


def new_sheet(
    photo: Image.Image,
    count: int,
    *,
    title: str,
    size: int,
    captions: Sequence[str] = (),
    legends: int = 1,
    least: float = 1.0,
    columns: Sequence[int] = (),
    limits: tuple[float, float, float, float] | None = None,
) -> Sheet:
    """Empty panels, as large as they can be on a sheet that is at most as high as it is wide.

    Args:
        photo: The photograph.
        count: Number of panels.
        title: Of the whole.
        size: Pixels of the longer side.
        captions: What will stand under the titles of panels.
        legends: Lines of the legend.
        least: Inches that a panel has in its row, at least.
        columns: Numbers of columns to choose from; by default all.
        limits: Left, top, right, bottom in pixels of the photograph, where more than it shall be seen.
    """
    from matplotlib.figure import Figure

    left, top, right, bottom = limits or (0.0, 0.0, float(photo.width), float(photo.height))
    aspect = (right - left) / (bottom - top)
    below = _BOTTOM + legends * _LINE + (0.08 if legends else 0)
    room = _Room(count, aspect, below, least, captions)
    choices = {n: room.fit(n) for n in columns or range(1, count + 1)}
    widest = max(wide for wide, *_ in choices.values())
    chosen = max(n for n, (wide, *_) in choices.items() if wide >= _NEARLY * widest)
    wide, high, slot, lines = choices[chosen]
    head = _head(lines)
    rows = -(-count // chosen)
    width = max(LEFT + _RIGHT + chosen * slot + (chosen - 1) * _GAP, _NARROWEST)
    height = _TOP + below + rows * (high + head) + (rows - 1) * _GAP / 2
    figure = Figure(figsize=(width, height), facecolor="white", dpi=size / max(width, height))
    figure.text(LEFT / width, 1 - 0.24 / height, title, color=INK, size=10.5, weight="bold", va="center")
    panels = []
    for index in range(count):
        row, column = divmod(index, chosen)
        x = LEFT + column * (slot + _GAP)
        y = height - _TOP - (row + 1) * (high + head) - row * _GAP / 2
        axes = figure.add_axes((x / width, y / height, wide / width, high / height))
        axes.set(xlim=(left, right), ylim=(bottom, top))
        axes.xaxis.set_major_locator(_locator(wide / 0.55))
        axes.yaxis.set_major_locator(_locator(high / 0.4))
        axes.tick_params(
            length=2, width=0.5, pad=1.5, labelsize=7, labelleft=column == 0, labelbottom=index + chosen >= count
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        panels.append(axes)
    lowest = panels[(rows - 1) * chosen]
    lowest.annotate(
        "px",
        (0, 0),
        (-5, -3),
        xycoords="axes fraction",
        textcoords="offset points",
        size=7,
        color=QUIET,
        ha="right",
        va="top",
        annotation_clip=False,
    )
    pixels = _reduced(photo, wide * figure.dpi * photo.width / (right - left))
    return Sheet(figure, panels, wide * 72 / (right - left), pixels, photo.size, below - _BOTTOM - 0.06, slot, lines)


@lru_cache(maxsize=256)
def inches(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text:
        return 0.0
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font, usetex=False).get_extents().width) / 72


def wrapped(text: str, width: float) -> list[str]:
    """Small text in lines of so many inches."""
    words, lines = text.split(), []
    while words:
        taken = max(n for n in range(1, len(words) + 1) if n == 1 or inches(" ".join(words[:n]), 7.5) <= width)
        lines.append(" ".join(words[:taken]))
        words = words[taken:]
    return lines


def save_picture(figure: Figure, path: Path, size: int) -> None:
    """Write a picture, PNG or SVG by the ending of its name; whole or not at all.

    Args:
        figure: What one of the draw functions returned.
        path: Where; replaced if it is there.
        size: Pixels of the longer side.
    """
    figure.set_dpi(size / max(figure.get_size_inches()))
    with drawing(path.stem), whole_file(path) as place:
        if path.suffix.lower() == ".svg":
            place.write_text(alone(as_svg(figure)), encoding="utf-8")
        else:
            figure.savefig(place, format="png", metadata={"Software": None})


@dataclass(frozen=True)
class _Room:
    """What panels have to share a sheet with; see ``new_sheet``."""

    count: int
    aspect: float
    below: float
    least: float
    captions: Sequence[str]

    def fit(self, columns: int) -> tuple[float, float, float, int]:
        """Panels in so many columns: width and height in inches, the room of each in its row, lines under its title."""
        rows = -(-self.count // columns)
        slot = (LONGEST - LEFT - _RIGHT - (columns - 1) * _GAP) / columns
        if columns > 1 and slot < self.least:
            return 0.0, 0.0, 0.0, 0
        for lines in range(5):
            high = (LONGEST - _TOP - self.below - (rows - 1) * _GAP / 2) / rows - _head(lines)
            wide = min(slot, max(high, 0.1) * self.aspect)
            needed = max((len(wrapped(text, max(wide, self.least))) for text in self.captions), default=0)
            if needed <= lines:
                break
        return wide, wide / self.aspect, max(wide, self.least), lines


def _head(lines: int) -> float:
    """Inches of a row that are no photograph: the title, lines under it, the ticks' room."""
    return 0.22 + 0.155 * lines


def _locator(room: float) -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(int(np.clip(room, 1, 7)), integer=True, min_n_ticks=1)


def _reduced(photo: Image.Image, width: float) -> np.ndarray[Any, Any]:
    """The photograph, not larger than it is shown."""
    factor = min(width / photo.width, 1.0)
    wanted = max(round(photo.width * factor), 1), max(round(photo.height * factor), 1)
    image = photo.convert("RGB")
    if wanted != photo.size:
        image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)


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
