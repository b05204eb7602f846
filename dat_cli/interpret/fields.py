"""What a query can see in other networks, by geometry alone: the comparison with which DAT's paper opens.

Nothing here is learned, and nothing is a weight: which cells are keys follows from the query's place, the size of the
map and the published windows, strides and kernels of each network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dat_cli.interpret.explanation import Array

SWIN_WINDOW = 7
PVT_RATIOS = (8, 4, 2, 1)
"""Cells that become one key, along each axis, by stage (PVT-Tiny to PVT-Large)."""
DCN_KERNEL = 3


@dataclass(frozen=True)
class Field:
    """The keys of one query in one attention, in cells of its map.

    Attributes:
        name: Of the attention.
        boxes: (N, 4), the cells that each key is made of: first row, first column, and one past the last of each.
        points: (P, 2), keys that are sampled at (row, column); may lie outside of the map.
    """

    name: str
    boxes: Array
    points: Array

    @property
    def count(self) -> int:
        """Number of keys."""
        return len(self.boxes) + len(self.points)


def dense(height: int, width: int) -> Field:
    """ViT (Dosovitskiy et al., ICLR 2021): every cell is a key of every query."""
    return _cells("dense", (0, 0, height, width))


def window(row: int, column: int, height: int, width: int, *, shifted: bool) -> Field:
    """Swin (Liu et al., ICCV 2021): the cells of the query's window.

    Shifted windows are moved by half a window; at the border they are cut. Along an axis that one window covers there
    is nothing to shift.
    """
    (top, bottom), (left, right) = _span(row, height, shifted), _span(column, width, shifted)
    name = "shifted window" if shifted else "window"
    return _cells(name, (top, left, bottom, right))


def reduced(height: int, width: int, stage: int) -> Field:
    """PVT (Wang et al., ICCV 2021): every R x R cells become one key, for every query the same.

    Its reduction is a convolution of R x R cells without padding: what is left over at the right and the bottom is
    no part of any key.

    Args:
        height: Rows of the map.
        width: Its columns.
        stage: From 1.
    """
    ratio = PVT_RATIOS[stage - 1]
    return _cells("spatial reduction", (0, 0, height, width), (min(ratio, height), min(ratio, width)))


def deformable_convolution(row: int, column: int) -> Field:
    """DCN (Dai et al., ICCV 2017): a kernel of 3 x 3 around the query, drawn at rest; each point is free to move."""
    reach = DCN_KERNEL // 2
    steps = np.arange(-reach, reach + 1)
    points = np.stack(np.meshgrid(steps + row, steps + column, indexing="ij"), axis=-1).reshape(-1, 2)
    return Field("deformable convolution", np.empty((0, 4), int), points)


def _span(place: int, size: int, shifted: bool) -> tuple[int, int]:
    """The window along one axis: its first cell, and one past its last."""
    if size <= SWIN_WINDOW:
        return 0, size
    shift = SWIN_WINDOW // 2 if shifted else 0
    first = (place - shift) // SWIN_WINDOW * SWIN_WINDOW + shift
    return max(first, 0), min(first + SWIN_WINDOW, size)


def _cells(name: str, area: tuple[int, int, int, int], merged: tuple[int, int] = (1, 1)) -> Field:
    """A key for each so many rows and columns of cells of an area."""
    (top, left, bottom, right), (down, across) = area, merged
    rows, columns = np.arange(top, bottom - down + 1, down), np.arange(left, right - across + 1, across)
    corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return Field(name, np.concatenate([corners, corners + np.array(merged)], axis=1), np.empty((0, 2), int))
