"""How panels share a sheet: as large as they can be, with room for what is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from dat_cli.interpret.pictures.canvas import LEFT, LINE, Sheet
from dat_cli.interpret.pictures.writing import wrapped
from dat_cli.report.canvas import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 9.0
"""Inches of a picture's longer side: at 900 pixels all text is as large as that of a page."""

_NARROWEST = 6.9  # inches; titles and legends fit
_RIGHT, _TOP, _BOTTOM, _GAP = 0.14, 0.46, 0.30, 0.22  # inches
_TWO = 0.7  # of the room of a number; two fit
_NEARLY = 0.88  # of the largest panels possible: more columns make a lower picture


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
    below = _BOTTOM + legends * LINE + (0.08 if legends else 0)
    room = _Room(count, aspect, below, least, captions)
    choices = {n: room.fit(n) for n in columns or range(1, count + 1)}
    widest = max(wide for wide, *_ in choices.values())
    chosen = max(n for n, (wide, *_) in choices.items() if wide >= _NEARLY * widest)
    wide, high, slot, lines = choices[chosen]
    head = _head(lines)
    rows = -(-count // chosen)
    width = max(LEFT + _RIGHT + chosen * slot + (chosen - 1) * _GAP, _NARROWEST)
    height = _TOP + below + rows * (high + head) + (rows - 1) * _GAP / 3
    figure = Figure(figsize=(width, height), facecolor="white", dpi=size / max(width, height))
    figure.text(LEFT / width, 1 - 0.24 / height, title, color=INK, size=10.5, weight="bold", va="center")
    panels = []
    for index in range(count):
        row, column = divmod(index, chosen)
        x = LEFT + column * (slot + _GAP)
        y = height - _TOP - (row + 1) * (high + head) - row * _GAP / 3
        axes = figure.add_axes((x / width, y / height, wide / width, high / height))
        axes.set(xlim=(left, right), ylim=(bottom, top))
        _tick(axes, wide, high, labelleft=column == 0, labelbottom=index + chosen >= count)
        panels.append(axes)
    _name_unit(panels[(rows - 1) * chosen])
    pixels = _reduced(photo, wide * figure.dpi * photo.width / (right - left))
    return Sheet(figure, panels, wide * 72 / (right - left), pixels, photo.size, below - _BOTTOM - 0.06, slot, lines)


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
            high = (LONGEST - _TOP - self.below - (rows - 1) * _GAP / 3) / rows - _head(lines)
            wide = min(slot, max(high, 0.1) * self.aspect)
            needed = max((len(wrapped(text, max(wide, self.least))) for text in self.captions), default=0)
            if needed <= lines:
                break
        return wide, wide / self.aspect, max(wide, self.least), lines


def _head(lines: int) -> float:
    """Inches of a row that are no photograph: the title, lines under it, the ticks' room."""
    return 0.22 + 0.155 * lines


def _reduced(photo: Image.Image, width: float) -> np.ndarray[Any, Any]:
    """The photograph, not larger than it is shown."""
    factor = min(width / photo.width, 1.0)
    wanted = max(round(photo.width * factor), 1), max(round(photo.height * factor), 1)
    image = photo.convert("RGB")
    if wanted != photo.size:
        image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)


def _tick(axes: Axes, wide: float, high: float, **labels: Any) -> None:
    """A scale in pixels, as fine as a panel of so many inches has room for."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    for axis, room in ((axes.xaxis, wide / 0.55), (axes.yaxis, high / 0.4)):
        several = MaxNLocator(int(np.clip(room, 1, 7)), integer=True, min_n_ticks=1)
        axis.set_major_locator(several if room > _TWO else FixedLocator([0]))
    axes.tick_params(length=2, width=0.5, pad=1.5, labelsize=7, **labels)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _name_unit(axes: Axes) -> None:
    """Say in the corner where both scales begin that they count pixels."""
    style: dict[str, Any] = {"size": 7, "color": QUIET, "ha": "right", "va": "top", "annotation_clip": False}
    axes.annotate("px", (0, 0), (-5, -6), xycoords="axes fraction", textcoords="offset points", **style)
