"""The bias of keys for queries that stand about a cell of the table apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.keywise.between import between
from dat_cli.ops.keywise.cells import cells, steps_along
from dat_cli.ops.position_bias import Grid


class Shifted:
    """Where queries stand about a cell apart: the piece of the table that a key sees, moved by parts of a cell.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """

    def __init__(self, table: Tensor, query_points: Grid) -> None:
        self.points = query_points
        self.rows, self.columns = (_Axis(at, size) for at, size in zip(query_points, table.shape[1:], strict=True))
        self._sides = (*[self.columns.cells] * 2, *[self.rows.cells] * 2)
        self.table = F.pad(table, self._sides)

    def of_keys(self, key_points: Tensor) -> ShiftedKeys:
        """The bias of keys at these positions, (N, 2)."""
        return ShiftedKeys(self, key_points)

    def cropped(self, padded: Tensor) -> Tensor:
        """As the table, from what is as the padded one."""
        return F.pad(padded, [-side for side in self._sides])


class ShiftedKeys:
    """The bias of some keys.

    Args:
        whole: Of all keys.
        key_points: (N, 2).
    """

    def __init__(self, whole: Shifted, key_points: Tensor) -> None:
        self._whole = whole
        y, x = key_points.unbind(-1)
        (self.row, self._down), (self.column, across) = whole.rows.place(y), whole.columns.place(x)
        self.across_steps = across[:, :, None].unbind()
        """Shares that ``between`` takes along rows."""
        rows = self.row[:, None] + torch.arange(whole.rows.cells, dtype=torch.int32, device=y.device)
        self._rows = rows * whole.table.shape[2] + self.column[:, None]  # where those of pieces begin, (N, H + steps)

    def of(self, head: int, rows: slice) -> Tensor:
        """For some rows of queries: (N, M)."""
        sideways = between(self.seen(head, rows), self.across_steps, 2)
        return between(sideways, self.down_steps(rows), 1).flatten(1)

    def down_steps(self, rows: slice) -> tuple[Tensor, ...]:
        """Shares that ``between`` takes along columns, for some rows of queries."""
        return self._down[:, :, rows, None].unbind()

    def seen(self, head: int, rows: slice) -> Tensor:
        """Pieces of the table that these rows of queries see, (N, H + steps, W + steps)."""
        table, width = self._whole.table, self._whole.columns.cells
        rows_of_pieces = table[head].as_strided((table[head].numel() - width + 1, width), (1, 1))
        at = self._rows[:, rows.start : rows.stop + self._whole.rows.steps]
        return rows_of_pieces.index_select(0, at.flatten()).unflatten(0, at.shape)


class _Axis:
    """Queries along one axis of a table.

    Args:
        points: (W,).
        size: 2 W0 - 1.
    """

    def __init__(self, points: Tensor, size: int) -> None:
        self._points, self._size = points, size
        self.steps = steps_along(points, size)
        self.cells = len(points) + self.steps
        """That a key may see."""
        self.moved = -(size - 1) / 4
        """How many cells a key's place in the table moves by if its position moves by 1."""

    def place(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The first cell of the padded table that keys (N,) see, (N,), and how much of each next one queries take.

        (steps, N, W): how far a query has gone from the cell before to the next one, of 0 to 1.
        """
        queries = torch.arange(len(self._points), device=keys.device)
        cell = cells(self._points, keys, self._size) - queries
        first = cell.amin(dim=1, keepdim=True).floor()
        shares = (cell - first).sub(torch.arange(self.steps, device=keys.device)[:, None, None]).clamp_(0, 1)
        return first[:, 0].clamp_(-self.cells, self._size).int() + self.cells, shares
