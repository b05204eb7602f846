"""The bias of keys for queries that stand about a cell of the table apart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.keywise.between import between, between_by_steps, derived_between
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
    """The bias of some keys, and its gradients, which are added up from head to head and band to band.

    Args:
        whole: Of all keys.
        key_points: (N, 2).
    """

    def __init__(self, whole: Shifted, key_points: Tensor) -> None:
        self._whole = whole
        y, x = key_points.unbind(-1)
        (rows, self._down), (columns, self._across) = whole.rows.place(y), whole.columns.place(x)
        self._pieces = rows * whole.table.shape[2] + columns[:, :1]  # where rows of pieces begin, (N, H + steps)
        self._down_gradient, self._across_gradient = torch.zeros_like(self._down), torch.zeros_like(self._across)

    def of(self, head: int, rows: slice) -> Tensor:
        """For some rows of queries: (N, M)."""
        middle = between(self._seen(head, rows), self._down[:, :, rows, None], 1)
        return between(middle, self._across[:, :, None], 2).flatten(1)

    def derivable(self, head: int, rows: slice) -> tuple[Tensor, Callable[[Tensor, Tensor], None]]:
        """The bias for some rows of queries, (N, M), and its backward.

        That takes its gradient, adds to those of the positions, and to those of the pieces of the table that the head
        is looked up in, ``piece_gradients(...)[:, head]``.
        """
        down, across = self._down[:, :, rows, None], self._across[:, :, None]
        seen = self._seen(head, rows)
        downward = between_by_steps(seen, down, 1)
        sideways = between_by_steps(downward[-1], across, 2)

        def backward(gradient: Tensor, seen_gradient: Tensor) -> None:
            gradient, middle_gradient = gradient.view_as(sideways[-1]), torch.zeros_like(downward[-1])
            self._across_gradient += derived_between(downward[-1], across, 2, sideways, gradient, middle_gradient)
            self._down_gradient[:, :, rows] += derived_between(seen, down, 1, downward, middle_gradient, seen_gradient)

        return sideways[-1].flatten(1), backward

    def piece_gradients(self, rows: slice, memory: Tensor | None) -> Tensor:
        """Zeros for each head's pieces of the table, (N, h, H + steps, W + steps), in this memory if it suits."""
        whole = self._whole
        high = len(self._pieces[0, rows.start : rows.stop + whole.rows.steps])
        shape = (len(self._pieces), len(whole.table), high, whole.columns.cells)
        return whole.table.new_zeros(shape) if memory is None or memory.shape != shape else memory.zero_()

    def add_to_table(self, rows: slice, piece_gradients: Tensor, table_gradient: Tensor) -> None:
        """Add the gradients of pieces to the padded table's, where they were taken from."""
        shape, strides = piece_gradients.shape[1:], table_gradient.stride()
        places = [table_gradient.as_strided(shape, strides, first) for first in self._pieces[:, rows.start].tolist()]
        torch._foreach_add_(places, piece_gradients.unbind())

    def points_gradient(self) -> Tensor:
        """That of the positions, (N, 2), after all heads and bands."""
        y = self._whole.rows.keys_gradient(self._down, self._down_gradient)
        x = self._whole.columns.keys_gradient(self._across, self._across_gradient)
        return torch.stack([y, x], dim=-1)

    def _seen(self, head: int, rows: slice) -> Tensor:
        """Pieces of the table, (N, H + steps, W + steps)."""
        table, width = self._whole.table, self._whole.columns.cells
        rows_of_pieces = table[head].as_strided((table[head].numel() - width + 1, width), (1, 1))
        at = self._pieces[:, rows.start : rows.stop + self._whole.rows.steps]
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

    def place(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Which cells of the padded table keys (N,) see, (N, W + steps), and how much of each a query takes.

        (steps, N, W): how far it has gone from the cell before to the next one, of 0 to 1.
        """
        queries = torch.arange(len(self._points), device=keys.device)
        cell = cells(self._points, keys, self._size) - queries
        first = cell.amin(dim=1, keepdim=True).floor()
        shares = (cell - first).sub(torch.arange(self.steps, device=keys.device)[:, None, None]).clamp_(0, 1)
        first = first.clamp_(-self.cells, self._size).int() + self.cells
        return first + torch.arange(self.cells, dtype=torch.int32, device=keys.device), shares

    def keys_gradient(self, shares: Tensor, shares_gradient: Tensor) -> Tensor:
        """The gradient of keys, (N,): of each query that of the one step that it is in.

        On a cell that is the next one, as in sampling, if there is one.
        """
        moving = shares < 1
        moving[-1] = True
        moving[1:] &= shares[:-1] == 1
        return (shares_gradient * moving).sum(dim=(0, 2)) * (-(self._size - 1) / 4)
