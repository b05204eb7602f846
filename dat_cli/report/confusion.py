"""What is taken for what, as a map that can be read for two classes and for thousands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from dat_cli.report.canvas import INK, QUIET, as_svg, drawing, short
from dat_cli.report.findings import Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 30
"""Classes of a map; of more only those are shown that are confused most."""

_RIGHT, _WRONG = (0.11, 0.60, 0.54), (0.88, 0.42, 0.23)
_STRONGEST = 0.85  # opacity; numbers stay readable on it in light and in dark


class Extract(NamedTuple):
    """The part of a confusion matrix that is drawn.

    Attributes:
        chosen: Indices of the classes, rows and columns.
        counts: (rows, columns), with a last column for all other classes where some were left out.
        images: Pictures of each row's class.
        is_part: Whether classes were left out.
    """

    chosen: list[int]
    counts: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    is_part: bool


def extract(findings: Findings, most: int = MOST) -> Extract:
    """All classes where they fit; else those with the most frequent confusions, side by side, as far as they fit."""
    confusion = findings.confusion
    images = confusion.sum(axis=1)
    size = len(confusion)
    if size <= most:
        return Extract(list(range(size)), confusion, images, False)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    truths, given = np.nonzero(wrong)
    chosen: dict[int, None] = {}
    for pair in np.argsort(-wrong[truths, given], kind="stable"):
        both = dict.fromkeys((int(truths[pair]), int(given[pair])))
        if len(chosen | both) <= most:
            chosen |= both
        if len(chosen) == most:
            break
    rows = list(chosen)
    inside = confusion[np.ix_(rows, rows)]
    others = images[rows] - inside.sum(axis=1)
    return Extract(rows, np.concatenate([inside, others[:, None]], axis=1), images[rows], True)


def draw_confusion(findings: Findings, most: int = MOST) -> str | None:
    """The map as an SVG; None where there is nothing to show: many classes and not one mistake."""
    from matplotlib.figure import Figure

    part = extract(findings, most)
    rows, columns = part.counts.shape
    if not rows:
        return None
    names = [short(findings.classes[index]) for index in part.chosen]
    cell = 0.52 if rows <= 12 else 0.34 if rows <= 24 else 0.27  # inches
    margin = 0.35 + 0.075 * max(len(name) for name in names)
    with drawing("confusion"):
        figure = Figure(figsize=(columns * cell + margin + 0.3, rows * cell + margin + 0.6), layout="constrained")
        axes = figure.subplots()
        _draw_cells(axes, part, 9.0 if rows <= 12 else 7.0 if rows <= 24 else 6.0)
        axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_yticks(np.arange(rows) + 0.5, names)
        upright = all(len(name) <= 3 for name in names)
        axes.set_xticks(
            np.arange(columns) + 0.5, [*names, *(["others"] if part.is_part else [])], rotation=0 if upright else 90
        )
        axes.tick_params(length=0, labelsize=8 if rows > 12 else 9)
        axes.set_xlabel("what the network said", color=QUIET)
        axes.set_ylabel("what it was", color=QUIET)
        return as_svg(figure)


def _draw_cells(axes: Axes, part: Extract, size: float) -> None:
    """A square for each cell that holds something, the stronger, the larger its share of the row."""
    from matplotlib.collections import PolyCollection

    rows, columns = part.counts.shape
    axes.vlines(range(columns + 1), 0, rows, color=QUIET, alpha=0.25, linewidth=0.6)
    axes.hlines(range(rows + 1), 0, columns, color=QUIET, alpha=0.25, linewidth=0.6)
    squares, colours = [], []
    for row, column in zip(*(places.tolist() for places in np.nonzero(part.counts)), strict=True):
        count = int(part.counts[row, column])
        share = count / int(part.images[row])
        squares.append([(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)])
        colours.append((*(_RIGHT if row == column else _WRONG), _STRONGEST * share**0.6))  # few are seen too
        text = f"{count}" if count < 10_000 else f"{count / 1000:.0f}k"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=size, color=INK)
    axes.add_collection(PolyCollection(squares, facecolors=colours, linewidths=0), autolim=False)
