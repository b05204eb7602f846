"""What one query can see in five attentions: the comparison with which DAT's paper opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from dat_cli.data.geometry import View
from dat_cli.interpret.explanation import Cells, DeformableBlock, Explanation
from dat_cli.interpret.fields import PVT_RATIOS, Field, deformable_convolution, dense, reduced, window
from dat_cli.interpret.pictures.attention import STAR, draw_look, draw_star, place
from dat_cli.interpret.pictures.canvas import Sheet
from dat_cli.interpret.pictures.discs import sample
from dat_cli.interpret.pictures.heat import explain_colours, within
from dat_cli.interpret.pictures.layout import new_sheet
from dat_cli.report.canvas import INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FIELD = "#1f9bd1"
"""What a query sees, where no weight is known."""
SHIFTED = "#e8772e"
"""The same in the next block, whose windows are shifted."""


class _Panel(NamedTuple):
    title: str
    says: str
    fields: list[Field]


def draw_compare(
    explanation: Explanation, photo: Image.Image, *, block: DeformableBlock, query: tuple[float, float], size: int
) -> Figure:
    """A query's keys in ViT, Swin, PVT, DCN and this network, on the map of one block.

    Args:
        explanation: What was looked at.
        photo: The original image.
        block: Whose map it is, and whose keys and weights the last panel has.
        query: (x, y) in pixels of the photograph; the query of the nearest cell is shown.
        size: Pixels of the picture's longer side.
    """
    look = block.look(*query)
    panels = _panels(block, query)
    height, width = block.cells.map_size
    with drawing("compare"):
        sheet = new_sheet(
            photo,
            len(panels),
            title=f"What one query sees: stage {block.stage}, block {block.block}, {width} × {height} cells",
            size=size,
            captions=[panel.says for panel in panels],
            legends=2,
            least=1.2,
            columns=(1, 3, 6),
        )
        for axes, panel in zip(sheet.panels, panels, strict=True):
            plain = axes is sheet.panels[0]
            sheet.show(axes, explanation.view, grey=0 if plain else 0.8, light=0 if plain else 0.25)
            sheet.caption(axes, (panel.title, panel.title.partition(":")[0]), below=panel.says)
            for field, colour in zip(panel.fields, (FIELD, SHIFTED), strict=False):
                _draw_field(axes, field, block.cells, colour, sheet, explanation.view)
            if axes is not sheet.panels[-1]:
                draw_star(axes, look, sheet)
        draw_look(sheet.panels[-1], look, block, sheet, explanation.view)
        sheet.explain(0, "", _marks(query, shifted=any(len(panel.fields) > 1 for panel in panels)))
        explain_colours(sheet, 1, "DAT's attention on a cell", "0", f"{look.footprint.max():.1%}")
        return sheet.figure


def _panels(block: DeformableBlock, query: tuple[float, float]) -> list[_Panel]:
    """The query, and what it sees: in one block, and in the next where that differs."""
    height, width = block.cells.map_size
    row, column = block.cells.nearest(*query)
    windows = [window(row, column, height, width, shifted=shifted) for shifted in (False, True)]
    if np.array_equal(windows[0].boxes, windows[1].boxes):
        del windows[1]
    swin = " + ".join(str(field.count) for field in windows)
    moved = "its window, then the shifted" if len(windows) > 1 else "one window is the whole map"
    pvt, ratio = reduced(height, width, block.stage), PVT_RATIOS[block.stage - 1]
    merged = f"{ratio} × {ratio} cells each, the same for all" if ratio > 1 else "no reduction in the last stage"
    points = block.received.shape[1]
    dat = f"{block.groups} × {points}" if block.groups > 1 else f"{points}"
    return [
        _Panel("The query", f"its cell is {column + 1} from the left, {row + 1} from the top", []),
        _Panel("ViT: dense", f"{height * width} keys: all cells, the same for all", [dense(height, width)]),
        _Panel("Swin: windows", f"{swin} keys: {moved}", windows),
        _Panel("PVT: reduction", f"{pvt.count} keys: {merged}", [pvt]),
        _Panel("DCN: 3 × 3 at rest", "9 keys: each moves freely", [deformable_convolution(row, column)]),
        _Panel("DAT: deformable", f"{dat} keys: the image decides where", []),
    ]


def _draw_field(axes: Axes, field: Field, cells: Cells, colour: str, sheet: Sheet, view: View) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    if len(field.boxes):
        corners = cells.pixels(field.boxes[:, [[0, 1], [0, 3], [2, 3], [2, 1]]] - 0.5)  # (N, 4, 2)
        width = float(np.clip(np.abs(corners[0, 2] - corners[0, 0]).min() * sheet.points / 25, 0.25, 0.8))
        areas = PolyCollection(
            list(within(corners, view)), facecolors=[to_rgba(colour, 0.4)], edgecolors=[to_rgba(colour, 0.9)]
        )
        areas.set(linewidths=width, zorder=1, gid="field")
        axes.add_collection(areas, autolim=False)
    if len(field.points):
        x, y = cells.pixels(field.points).T
        diameter = float(np.clip(min(cells.step) * sheet.points * 0.45, 3, 8))
        discs = axes.scatter(x, y, s=diameter**2, color=colour, edgecolors="white", linewidths=0.6)
        discs.set(zorder=6, gid="field")  # the one in the middle lies on the query


def _marks(query: tuple[float, float], *, shifted: bool) -> list[Line2D]:
    return [
        sample(f"query at {place(query)}", 11, STAR, "*"),
        sample("keys, weights unknown", 8, FIELD, "s"),
        *([sample("in the next block", 8, SHIFTED, "s")] if shifted else []),
        sample("DAT's keys, area the weight", 7, "none", edge=INK),
    ]
