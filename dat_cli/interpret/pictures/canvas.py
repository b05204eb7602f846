"""The sheet that all pictures share: the photograph in panels, its axes in pixels, room for titles and a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
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

_NARROWEST = 6.2  # inches; titles and legends fit
_RIGHT, _TOP, _BOTTOM, _GAP = 0.12, 0.46, 0.30, 0.14  # inches
QUIET_TEXT = "#6b737c"
"""Text beside a title."""
_NEARLY = 0.88  # of the largest panels possible: more columns make a lower picture
_BOLD, _SMALL = 0.083, 0.062  # inches; a letter of a title, and of what stands beside it
_LINE = 0.24  # inches; a line of a legend, or of a panel's caption


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
    """

    figure: Figure
    panels: list[Axes]
    points: float
    pixels: np.ndarray[Any, Any]
    photo: tuple[int, int]
    legend: float
    slot: float

    def show(self, axes: Axes, view: View | None = None, grey: float = 0.0, light: float = 0.0) -> None:
        """Lay the photograph under a panel.

        Args:
            axes: The panel.
            view: What was cut off is dimmed, the rest outlined.
            grey: How much of the colour is taken away, so that what lies over it is seen: 0 to 1.
            light: How far it is bleached: 0 to 1.
        """
        pixels = self.pixels.astype(np.float32) / 255
        pixels += grey * (pixels @ np.float32([0.299, 0.587, 0.114])[..., None] - pixels)
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
        """A panel's title, and a quiet line or two under it.

        Args:
            axes: The panel.
            titles: The first that fits is taken.
            right: What stands at the right end of the title, where there is room.
            below: Under it.
        """
        room = axes.bbox.width / self.figure.dpi  # inches
        fitting = [title for title in titles if len(title) * _BOLD + len(right) * _SMALL < room - 0.05]
        title = fitting[0] if fitting else titles[-1]
        lines = textwrap.wrap(below, max(int(self.slot / _SMALL), 8))
        self._above(axes, title, 0, 4 + len(lines) * 11, size=8.5, color=INK, weight="bold")
        for index, line in enumerate(reversed(lines)):
            self._above(axes, line, 0, 4 + index * 11, size=7.5, color=QUIET_TEXT)
        if fitting and right:
            self._above(axes, right, 1, 4 + len(lines) * 11, size=7.5, color=QUIET_TEXT, ha="right")

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

    def explain(self, line: int, title: str, handles: Sequence[Line2D], start: float = 0.0, wide: float = 1.2) -> None:
        """A line of the legend under the panels.

        Args:
            line: From 0, the uppermost.
            title: What stands before it.
            handles: What is explained, each with its label.
            start: Inches that the title takes.
            wide: Room for each mark, in heights of a letter.
        """
        width, height = self.figure.get_size_inches()
        y = self.line(line) / height
        if title:
            self.figure.text(LEFT / width, y, title, color=INK, size=8, va="center", weight="bold")
        self.figure.legend(
            handles=list(handles),
            loc="center left",
            bbox_to_anchor=((LEFT + start - 0.02) / width, y),
            ncols=max(len(handles), 1),
            borderpad=0,
            borderaxespad=0,
            handlelength=wide,
            handletextpad=0.35,
            columnspacing=1.1,
            fontsize=8,
        )


def new_sheet(
    photo: Image.Image,
    count: int,
    *,
    title: str,
    size: int,
    captions: int = 0,
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
        captions: Lines under the title of each panel.
        legends: Lines of the legend.
        least: Inches that a panel has in its row, at least.
        columns: Numbers of columns to choose from; by default all.
        limits: Left, top, right, bottom in pixels of the photograph, where more than it shall be seen.
    """
    from matplotlib.figure import Figure

    left, top, right, bottom = limits or (0.0, 0.0, float(photo.width), float(photo.height))
    aspect = (right - left) / (bottom - top)
    below = _BOTTOM + legends * _LINE + (0.08 if legends else 0)
    head = 0.22 + 0.155 * captions  # inches of a row that are no photograph
    choices = {n: _fit(n, count, aspect, head, below, least) for n in columns or range(1, count + 1)}
    widest = max(wide for wide, _, _ in choices.values())
    chosen = max(n for n, (wide, _, _) in choices.items() if wide >= _NEARLY * widest)
    wide, high, slot = choices[chosen]
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
    return Sheet(figure, panels, wide * 72 / (right - left), pixels, photo.size, below - _BOTTOM - 0.06, slot)


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


def _fit(
    columns: int, count: int, aspect: float, head: float, below: float, least: float
) -> tuple[float, float, float]:
    """Width and height in inches of panels in so many columns, and the room that each has in its row."""
    rows = -(-count // columns)
    slot = (LONGEST - LEFT - _RIGHT - (columns - 1) * _GAP) / columns
    high = (LONGEST - _TOP - below - (rows - 1) * _GAP / 2) / rows - head
    if columns > 1 and (slot < least or high <= 0):
        return 0.0, 0.0, 0.0
    wide = min(slot, max(high, 0.1) * aspect)
    return wide, wide / aspect, max(wide, least)


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
    outer, inner = Outline.unit_rectangle(), Outline.unit_rectangle()
    whole = outer.vertices * photo
    hole = inner.vertices[::-1] * (right - left, bottom - top) + (left, top)
    ring = Outline(np.concatenate([whole, hole]), np.concatenate([outer.codes, inner.codes]))
    axes.add_patch(PathPatch(ring, facecolor="white", alpha=0.62, linewidth=0, zorder=0.5))
    large = axes.bbox.width / axes.figure.dpi > 3  # inches
    for colour, width in ((DARK, 1.4 if large else 0.9), ("white", 0.7 if large else 0.4)):
        frame = Rectangle((left, top), right - left, bottom - top)
        frame.set(fill=False, edgecolor=colour, linewidth=width, zorder=0.6)
        axes.add_patch(frame)
