"""Where deformable attention samples: the picture of figure 6 in DAT's paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dat_cli.data.geometry import View
from dat_cli.interpret.explanation import Array, DeformableBlock, Explanation
from dat_cli.interpret.pictures.canvas import DARK, Sheet
from dat_cli.interpret.pictures.discs import ARROW, colour, draw_discs, explain_groups, sample
from dat_cli.interpret.pictures.layout import new_sheet
from dat_cli.report.canvas import INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEAN = 0.42  # diameter of the disc of a mean share, in distances between points
_LARGEST = 2.2  # of the largest
_SMALLEST = 1.0  # printer's points: everything is seen


def draw_points(
    explanation: Explanation,
    photo: Image.Image,
    *,
    blocks: Sequence[DeformableBlock],
    group: int | None = None,
    size: int,
) -> Figure:
    """The sampling points of each block, moved from their reference points.

    Args:
        explanation: What was looked at.
        photo: The original image.
        blocks: One is drawn large, several side by side.
        group: From 0; None for all.
        size: Pixels of the picture's longer side.
    """
    with drawing("points"):
        sheet = new_sheet(
            photo,
            len(blocks),
            title=f"{explanation.architecture}: where deformable attention samples",
            size=size,
            legends=2,
            limits=_limits(blocks, photo),
        )
        mean = _mean_diameter(blocks, explanation.view, sheet)
        for axes, block in zip(sheet.panels, blocks, strict=True):
            sheet.show(axes, explanation.view, grey=0.25, light=0.12)
            _draw_block(axes, block, explanation.view.box, group, mean, sheet)
        groups = range(max(block.groups for block in blocks)) if group is None else [group]
        explain_groups(sheet, 0, list(groups))
        _explain_marks(sheet, mean)
        return sheet.figure


def _limits(blocks: Sequence[DeformableBlock], photo: Image.Image) -> tuple[float, float, float, float]:
    """The photograph and, beyond its border, the points that left it: by a tenth of the photograph at most."""
    places = np.concatenate([block.positions.reshape(-1, 2) for block in blocks])
    extent = np.array(photo.size)
    low, high = places.min(axis=0), places.max(axis=0)
    outside = np.clip(np.maximum(-low, high - extent) / extent + 0.02, 0, 0.12)
    margin = np.where(outside > 0.02, outside, 0) * extent
    (left, top), (right, bottom) = -margin, extent + margin
    return float(left), float(top), float(right), float(bottom)


def _mean_diameter(blocks: Sequence[DeformableBlock], view: View, sheet: Sheet) -> float:
    """Diameter in printer's points of a disc that receives as much attention as the mean; one for all panels."""
    left, top, right, bottom = view.box
    diameters = []
    for block in blocks:
        count = block.positions[..., 0].size
        spacing = np.sqrt((right - left) * (bottom - top) / count) * sheet.points
        largest = np.sqrt(block.received_by_group.max() * count / block.groups)
        diameters.append(min(_MEAN, _LARGEST / largest) * spacing)
    return float(np.clip(np.median(diameters), 2.2, 9))


def _draw_block(
    axes: Axes,
    block: DeformableBlock,
    box: tuple[float, float, float, float],
    group: int | None,
    mean: float,
    sheet: Sheet,
) -> None:
    rows, columns = block.reference.shape[:2]
    chosen = list(range(block.groups)) if group is None else [group]
    places = block.positions[chosen].reshape(-1, 2)
    starts = np.broadcast_to(block.reference, (len(chosen), rows, columns, 2)).reshape(-1, 2)
    shares = block.received_by_group[chosen].ravel() * rows * columns
    areas = np.maximum(mean**2 * shares, _SMALLEST**2)
    groups = np.repeat(chosen, rows * columns)
    x, y = block.reference.reshape(-1, 2).T
    small = float(np.clip(mean * 0.55, 1.6, 5))
    for colour_, width in ((DARK, small / 3.2), ("white", small / 6.5)):
        axes.scatter(x, y, s=(small * 1.2) ** 2, marker="+", color=colour_, linewidths=width, zorder=2)
    _draw_arrows(axes, starts, places, np.sqrt(areas) / 2 / sheet.points, groups, mean)
    draw_discs(axes, places, areas, groups, _outside(places, box))
    what = f"{len(chosen)} × {rows * columns} points" if len(chosen) > 1 else f"{rows * columns} points"
    if not np.ptp(places, axis=0).any():
        what += ", all here"
    sheet.caption(axes, (f"stage {block.stage}, block {block.block}", block.name), what)


def _draw_arrows(axes: Axes, starts: Array, ends: Array, radii: Array, groups: Array, mean: float) -> None:
    """From reference points to the rims of the discs; none where the disc covers its reference point."""
    moves = ends - starts
    lengths = np.linalg.norm(moves, axis=-1)
    seen = lengths > radii
    moves = moves[seen] * (1 - radii[seen] / lengths[seen])[:, None]
    arrows = axes.quiver(
        *starts[seen].T,
        *moves.T,
        color=[colour(int(one)) for one in groups[seen]],
        angles="xy",
        scale_units="xy",
        scale=1,
        units="inches",
        width=float(np.clip(mean / 9, 0.45, 1.1)) / 72,
        headwidth=3.6,
        headlength=4,
        headaxislength=3.6,
        minlength=0.5,
        edgecolor="white",
        linewidth=float(np.clip((mean - 2) / 10, 0, 0.4)),
        alpha=float(np.clip(mean / 5, 0.5, 1)),  # many arrows are quieter
        zorder=3,
    )
    arrows.set_gid("offsets")


def _outside(places: Array, box: tuple[float, float, float, float]) -> Array:
    left, top, right, bottom = box
    outside = (places < (left, top)) | (places > (right, bottom))
    return np.asarray(outside.any(axis=-1))


def _explain_marks(sheet: Sheet, mean: float) -> None:
    shares = (("¼", 0.5), ("1", 1.0), ("4", 2.0))
    discs = [sample(f"{share} × mean", mean * diameter, INK) for share, diameter in shares]
    cross = sample("reference point", 6, INK, "+", edge=INK)
    ring = sample("outside the input", 6, "none", edge=INK)
    sheet.explain(1, "attention", [*discs, cross, sample("offset", 11, INK, ARROW, edge=INK), ring])
