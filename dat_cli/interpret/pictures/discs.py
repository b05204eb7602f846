"""Keys as discs: coloured by group, their area a share of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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


def draw_discs(
    axes: Axes,
    places: npt.NDArray[Any],
    areas: npt.NDArray[Any],
    groups: npt.NDArray[Any],
    hollow: npt.NDArray[Any],
    *,
    halo: float = 0.8,
) -> None:
    """Discs, the small ones over the large ones.

    Args:
        axes: The panel.
        places: (N, 2), in pixels of the photograph.
        areas: (N,), squares of diameters in printer's points.
        groups: (N,).
        hollow: (N,), which are drawn as rings.
        halo: Width of the white rim in printer's points.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patheffects import Normal, withStroke

    order = np.argsort(-areas, kind="stable")
    for shape in _MARKERS:
        chosen = [index for index in order.tolist() if marker(int(groups[index])) == shape]
        if not chosen:
            continue
        colours = [to_rgba(colour(int(groups[index]))) for index in chosen]
        rings = hollow[chosen]
        faces = [to_rgba("white", 0.0) if ring else one for ring, one in zip(rings, colours, strict=True)]
        edges = [one if ring else to_rgba("white") for ring, one in zip(rings, colours, strict=True)]
        axes.scatter(
            *places[chosen].T,
            s=areas[chosen],
            marker=shape,
            facecolors=faces,
            edgecolors=edges,
            linewidths=halo,
            zorder=4,
            clip_on=True,
            path_effects=[withStroke(linewidth=halo * 1.7, foreground=(*to_rgba(DARK)[:3], 0.45)), Normal()],
        )


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
        markeredgewidth=0.8,
        label=label,
    )


def explain_groups(sheet: Sheet, line: int, groups: list[int]) -> None:
    """A line of the legend that names groups by colour."""
    sheet.explain(line, "group", [sample(str(one), 7, colour(one), marker(one)) for one in groups], start=0.5)
