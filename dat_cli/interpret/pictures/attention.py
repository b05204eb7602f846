"""Which keys a query looks at: the picture of figure 5 in DAT's paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image

from dat_cli.data.geometry import View
from dat_cli.interpret.explanation import AttentionBlock, DeformableBlock, Explanation, Look
from dat_cli.interpret.pictures.canvas import DARK, Sheet
from dat_cli.interpret.pictures.discs import draw_discs, explain_groups, sample
from dat_cli.interpret.pictures.heat import draw_cells, explain_colours
from dat_cli.interpret.pictures.layout import new_sheet
from dat_cli.report.canvas import INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

STAR = "#ff2d6f"
"""The query."""

_LARGEST = 11.0  # printer's points; diameter of the strongest key's disc, at most
_OF_PANEL = 0.055  # the same as a part of the panel's shorter side
_COVERED = 0.07  # of the map by all discs together, at most
_NAMED = 3  # queries whose places have room in the legend
_SEEN = 0.02  # of the strongest; keys with less attention are not drawn


class _Panel(NamedTuple):
    block: AttentionBlock
    query: int
    head: int | None
    look: Look


def draw_attention(
    explanation: Explanation,
    photo: Image.Image,
    *,
    blocks: Sequence[AttentionBlock],
    queries: Sequence[tuple[float, float]],
    head: int | Literal["all"] | None = None,
    group: int | None = None,
    size: int,
) -> Figure:
    """The keys of queries by weight, over the cells that they are sampled from.

    Args:
        explanation: What was looked at.
        photo: The original image.
        blocks: One row of panels or more for each.
        queries: (x, y) in pixels of the photograph; the query of the nearest cell is shown.
        head: From 0; ``all`` for a panel each; None for the mean.
        group: From 0; None for all, or for that of the head.
        size: Pixels of the picture's longer side.
    """
    panels = [
        _Panel(block, index, chosen, block.look(*query, head=chosen, group=group))
        for block in blocks
        for index, query in enumerate(queries)
        for chosen in (range(block.heads) if head == "all" else [head])
    ]
    groups = sorted({int(group) for panel in panels for group in panel.look.groups})
    named = any(isinstance(block, DeformableBlock) for block in blocks)
    looks = "a query looks" if len(queries) == 1 else "queries look"
    with drawing("attention"):
        sheet = new_sheet(
            photo,
            len(panels),
            title=f"{explanation.architecture}: what {looks} at, {_heads(head, group)}",
            size=size,
            legends=2 + named,
        )
        for axes, panel in zip(sheet.panels, panels, strict=True):
            sheet.show(axes, explanation.view, grey=0.8, light=0.25)
            draw_look(axes, panel.look, panel.block, sheet, explanation.view)
            sheet.caption(axes, _titles(panel, len(queries)), _strongest(panel.look, len(panels)))
        if named:
            explain_groups(sheet, 0, groups)
        most = f"{panels[0].look.footprint.max():.1%}" if len(panels) == 1 else "each panel's max"
        explain_colours(sheet, int(named), "attention on a cell", "0", most)
        sheet.explain(1 + named, "", _marks(queries, discs=named))
        return sheet.figure


def draw_look(axes: Axes, look: Look, block: AttentionBlock, sheet: Sheet, view: View) -> None:
    """One query: the cells it reads, its keys and its place."""
    draw_cells(axes, block.cells, look.footprint, float(look.footprint.max()), view)
    if isinstance(block, DeformableBlock):  # the keys of other blocks are the cells themselves
        largest = _largest(look, block, axes, sheet)
        seen = look.weights >= _SEEN * look.weights.max()
        areas = largest**2 * look.weights[seen] / look.weights.max()
        draw_discs(axes, look.keys[seen], areas, look.groups[seen])
    draw_star(axes, look, sheet)


def _largest(look: Look, block: AttentionBlock, axes: Axes, sheet: Sheet) -> float:
    """Diameter of the strongest key's disc in printer's points: less where many keys have much."""
    panel = min(axes.bbox.width, axes.bbox.height) * 72 / sheet.figure.dpi
    room = np.prod(block.cells.step) * np.prod(block.cells.map_size) * sheet.points**2
    crowded = np.sqrt(_COVERED * room * 4 / np.pi * look.weights.max())  # the weights sum to 1
    return float(np.clip(min(_OF_PANEL * panel, crowded), 1.5, _LARGEST))


def draw_star(axes: Axes, look: Look, sheet: Sheet) -> None:
    """Where a query stands."""
    x, y = look.query.tolist()
    side = min(axes.bbox.width, axes.bbox.height) * 72 / sheet.figure.dpi  # printer's points
    large = float(np.clip(side / 12, 7, 15))
    for colour, more, order in ((DARK, 2.4, 5), ("white", 1.6, 5.1), (STAR, 0.0, 5.2)):
        axes.plot(
            [x], [y], "*", markersize=large, color=colour, markeredgecolor=colour, markeredgewidth=more, zorder=order
        )
    axes.lines[-1].set_gid("query")


def _heads(head: int | Literal["all"] | None, group: int | None) -> str:
    if head == "all":
        return "head by head"
    if head is not None:
        return f"head {head + 1}"
    return "mean of all heads" if group is None else f"mean of the heads of group {group + 1}"


def place(query: tuple[float, float]) -> str:
    """Pixels as a person reads them."""
    return "({:.4g}, {:.4g})".format(*query)


def _titles(panel: _Panel, queries: int) -> list[str]:
    """Long and short ones."""
    block = panel.block
    words = [("head {}", "h{}", panel.head + 1)] if panel.head is not None else []
    if queries > 1:
        words.append(("query {}", "q{}", panel.query + 1))
    long = [word.format(number) for word, _, number in words]
    brief = [letter.format(number) for _, letter, number in words]
    return [
        " · ".join([f"stage {block.stage}, block {block.block}", *long]),
        " · ".join([block.name, *long]),
        " ".join([block.name, *brief]),
    ]


def _strongest(look: Look, panels: int) -> str:
    cell = f"{look.footprint.max():.1%}"
    return f"max {cell}" if panels > 1 else f"strongest key {look.weights.max():.1%}, strongest cell {cell}"


def _marks(queries: Sequence[tuple[float, float]], *, discs: bool) -> list[Line2D]:
    if len(queries) == 1:
        names = [f"query at {place(queries[0])}"]
    elif len(queries) <= _NAMED:
        names = [f"{number} at {place(query)}" for number, query in enumerate(queries, 1)]
    else:
        names = [f"queries 1 to {len(queries)}"]
    key = [sample("key, its area the weight", 7, "none", edge=INK)] if discs else []
    return [*(sample(name, 11, STAR, "*") for name in names), *key]
