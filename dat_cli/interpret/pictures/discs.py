"""Keys as discs: coloured by group, their area a share of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dat_cli.interpret.explanation import Array
from dat_cli.interpret.pictures.canvas import DARK, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#f0b400", "#56b4e9", "#cc79a7", "#7a3fa0", "#20262e")
"""Of the groups: after Okabe and Ito, apart from each other for every eye; from the ninth on as squares."""

ARROW = ((-1.0, 0.0), (0.3, 0.0), (0.3, 0.35), (1.0, 0.0), (0.3, -0.35), (0.3, 0.0), (-1.0, 0.0))
"""To the right, as a sample in a legend."""
_MARKERS = ("o", "s")


def colour(group: int) -> str:
    """The colour of a group."""
    return COLOURS[group % len(COLOURS)]


def marker(group: int) -> str:
    """The shape of a group's discs."""
    return _MARKERS[group // len(COLOURS) % len(_MARKERS)]


def draw_discs(axes: Axes, places: Array, areas: Array, groups: Array, hollow: Array | None = None) -> None:
    """Discs with a rim that is seen on bright and on dark photographs, the small ones over the large ones.

    Args:
        axes: The panel.
        places: (N, 2), in pixels of the photograph.
        areas: (N,), squares of diameters in printer's points.
        groups: (N,).
        hollow: (N,), which are drawn as rings.
    """
    from matplotlib.colors import to_rgba

    order = np.argsort(-areas, kind="stable")
    rings = np.zeros(len(areas), bool) if hollow is None else hollow
    shapes = np.array([marker(int(group)) for group in groups])
    for shape in _MARKERS:
        for ring in (False, True):
            chosen = order[(shapes == shape)[order] & (rings == ring)[order]]
            if not chosen.size:
                continue
            x, y = places[chosen].T
            diameters = np.sqrt(areas[chosen])
            rims = np.clip(diameters * 0.16, 0.25, 0.9)
            own = [to_rgba(colour(int(group))) for group in groups[chosen]]
            if ring:
                for edges, width in (("white", rims * 3.5), (own, rims * 1.6)):
                    discs = axes.scatter(x, y, s=diameters**2, marker=shape, c="none", edgecolors=edges)
                    discs.set(linewidths=width, zorder=4, gid="hollow")
            else:
                shadow = axes.scatter(x, y, s=(diameters + 1.7 * rims) ** 2, marker=shape, color=DARK, alpha=0.4)
                shadow.set(linewidths=0, zorder=3.9)
                discs = axes.scatter(x, y, s=diameters**2, marker=shape, c=own, edgecolors="white")
                discs.set(linewidths=rims, zorder=4, gid="keys")


def sample(label: str, diameter: float, face: str, shape: Any = "o", edge: str = "white") -> Line2D:
    """A disc in a legend."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="",
        marker=shape,
        markersize=diameter,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=0.8 if diameter > 4 else 0,
        label=label,
    )


def explain_groups(sheet: Sheet, line: int, groups: list[int]) -> None:
    """A line of the legend that names groups by colour."""
    sheet.explain(line, "group", [sample(str(one + 1), 7, colour(one), marker(one)) for one in groups])
