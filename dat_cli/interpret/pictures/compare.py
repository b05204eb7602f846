"""What one query can see in five attentions: the comparison with which DAT's paper opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from dat_cli.interpret.explanation import Cells, DeformableBlock, Explanation
from dat_cli.interpret.fields import PVT_RATIOS, Field, deformable_convolution, dense, reduced, window
from dat_cli.interpret.pictures.attention import STAR, draw_look, draw_star
from dat_cli.interpret.pictures.canvas import Sheet, new_sheet
from dat_cli.interpret.pictures.discs import sample
from dat_cli.interpret.pictures.heat import explain_colours
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
    height, width = block.cells.map_size
    row, column = block.cells.nearest(*query)
    look = block.look(*query)
    windows = [window(row, column, height, width, shifted=shifted) for shifted in (False, True)]
    pvt, points = reduced(height, width, block.stage), len(look.keys) // block.groups
    ratio = PVT_RATIOS[block.stage - 1]
    panels = (
        _Panel("The query", f"its cell is {column + 1} from the left, {row + 1} from the top", []),
        _Panel("ViT: dense", f"{height * width} keys: all cells, the same for every query", [dense(height, width)]),
        _Panel("Swin: windows", f"{windows[0].count} + {windows[1].count} keys: its window, then the shifted", windows),
        _Panel("PVT: reduction", f"{pvt.count} keys: {ratio} × {ratio} cells each, for all the same", [pvt]),
        _Panel("DCN: 3 × 3 at rest", "9 keys: each moves freely", [deformable_convolution(row, column)]),
        _Panel("DAT: deformable", f"{block.groups} × {points} keys: the image decides where", []),
    )
    with drawing("compare"):
        sheet = new_sheet(
            photo,
            len(panels),
            title=f"What one query sees: stage {block.stage}, block {block.block}, {width} × {height} cells",
            size=size,
            captions=[panel.says for panel in panels],
            legends=2,
            least=1.25,
            columns=(1, 3, 6),
        )
        for axes, panel in zip(sheet.panels, panels, strict=True):
            plain = axes is sheet.panels[0]
            sheet.show(axes, explanation.view, grey=0 if plain else 0.8, light=0 if plain else 0.25)
            sheet.caption(axes, (panel.title, panel.title.partition(":")[0]), below=panel.says)
            for field, colour in zip(panel.fields, (FIELD, SHIFTED), strict=False):
                _draw_field(axes, field, block.cells, colour, sheet)
            if axes is not sheet.panels[-1]:
                draw_star(axes, look, sheet)
        draw_look(sheet.panels[-1], look, block, sheet)
        sheet.explain(0, "", _marks(query))
        explain_colours(sheet, 1, "DAT's attention on a cell", "0", f"{look.footprint.max():.1%}")
        return sheet.figure


def _draw_field(axes: Axes, field: Field, cells: Cells, colour: str, sheet: Sheet) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    cell = cells.step[0] * sheet.points  # printer's points
    if len(field.boxes):
        corners = field.boxes[:, [[0, 1], [0, 3], [2, 3], [2, 1]]]  # (N, 4, 2)
        areas = PolyCollection(
            list(cells.pixels(corners - 0.5)),
            facecolors=[to_rgba(colour, 0.4)],
            edgecolors=[to_rgba(colour, 0.9)],
            linewidths=float(np.clip(cell / 25, 0.25, 0.8)),
        )
        areas.set(zorder=1, gid="field")
        axes.add_collection(areas, autolim=False)
    if len(field.points):
        x, y = cells.pixels(field.points).T
        diameter = float(np.clip(cell * 0.45, 3, 8))
        discs = axes.scatter(x, y, s=diameter**2, color=colour, edgecolors="white", linewidths=0.6, zorder=4)
        discs.set_gid("field")


def _marks(query: tuple[float, float]) -> list[Line2D]:
    return [
        sample(f"query at ({query[0]:.0f}, {query[1]:.0f})", 11, STAR, "*"),
        sample("keys; their weights are not known", 8, FIELD, "s"),
        sample("in the next block", 8, SHIFTED, "s"),
        sample("DAT's keys, their area the weight", 7, "none", edge=INK),
    ]
