"""The position bias of one key for all queries, which is made of rows that lie side by side.

Bilinear weights are separable: what a key adds to the map of queries is Y T X^T, with its table T and two entries in
each row of Y and of X.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.linear import linear
from dat_cli.ops.position_bias import Grid

_CELLS = 2**6  # of a table, for each row of queries; many more cost more to multiply than to look up
_STEPS = 3  # from a cell to the next; each takes a pass

BiasOf = Callable[[int, int, int], Tensor]
"""Of some keys, by head, first row of queries and the row behind the last: (N, M)."""


def bias_by_key(table: Tensor, query_points: Grid) -> type[Shifted | Stretched] | None:
    """The way that is faster than looking up each pair, if there is one.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """
    tall, wide = table.shape[1:]
    if max(map(_steps, query_points, (tall, wide))) <= _STEPS:
        return Shifted
    return Stretched if tall > 1 and tall * wide <= _CELLS * len(query_points[0]) else None


class Shifted:
    """Where queries stand about a cell apart: the piece of the table that the key sees, moved by parts of a cell.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """

    def __init__(self, table: Tensor, query_points: Grid) -> None:
        self._points = query_points
        self._axes = [_Axis(at, size) for at, size in zip(query_points, table.shape[1:], strict=True)]
        beyond = [axis.cells for axis in reversed(self._axes) for _ in range(2)]
        padded = F.pad(table, beyond)
        self._row = padded.shape[2]
        pieces = padded[0].numel() - beyond[0] + 1
        self._pieces = padded.as_strided((len(table), pieces, beyond[0]), (padded.stride(0), 1, 1))

    def of_keys(self, key_points: Tensor) -> BiasOf:
        """(N, 2)."""
        (rows, of_rows), (columns, of_columns) = (
            axis.place(keys) for axis, keys in zip(self._axes, key_points.unbind(-1), strict=True)
        )
        pieces = rows * self._row + columns[:, :1]
        beyond = self._axes[0].steps

        def bias(head: int, start: int, stop: int) -> Tensor:
            at = pieces[:, start : stop + beyond]
            seen = self._pieces[head].index_select(0, at.flatten()).unflatten(0, at.shape)  # (N, H + steps, W + steps)
            return _between(_between(seen, of_rows[:, :, start:stop, None], 1), of_columns[:, :, None], 2).flatten(1)

        return bias


class _Axis:
    """Queries along one axis of a table.

    Args:
        points: (W,).
        size: 2 W0 - 1.
    """

    def __init__(self, points: Tensor, size: int) -> None:
        self._points, self._size = points, size
        self.steps = _steps(points, size)
        self.cells = len(points) + self.steps
        """That a key may see."""

    def place(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Which cells of the padded table keys (N,) see, (N, W + steps), and how much of each a query takes.

        (steps, N, W): how far it has gone from the cell before to the next one, of 0 to 1.
        """
        queries = torch.arange(len(self._points), device=keys.device)
        cell = _cells(self._points, keys, self._size) - queries
        first = cell.amin(dim=1, keepdim=True).floor()
        shares = (cell - first).sub(torch.arange(self.steps, device=keys.device)[:, None, None]).clamp_(0, 1)
        first = first.nan_to_num().clamp_(-self.cells, self._size).int() + self.cells
        return first + torch.arange(self.cells, dtype=torch.int32, device=keys.device), shares


def _between(maps: Tensor, shares: Tensor, axis: int) -> Tensor:
    """Linear interpolation of neighbours along an axis: of each step the share of the next one."""
    size = maps.shape[axis] - len(shares)
    found = maps.narrow(axis, 0, size).lerp(maps.narrow(axis, 1, size), shares[0])
    for step, share in enumerate(shares[1:], 2):
        found.lerp_(maps.narrow(axis, step, size), share)
    return found


class Stretched:
    """Where several queries stand in a cell: T X^T is one product for many keys, of whose rows means are taken.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """

    def __init__(self, table: Tensor, query_points: Grid) -> None:
        self._table, self._points = table, query_points

    def of_keys(self, key_points: Tensor) -> BiasOf:
        """(N, 2)."""
        heads, tall, wide = self._table.shape
        y, x = self._points
        keys = len(key_points)
        cell = _cells(x, key_points[:, 1], wide)[..., None]  # (N, W, 1)
        hats = (cell - torch.arange(wide, device=x.device)).abs_().neg_().add_(1).clamp_(min=0)
        across = linear(self._table.flatten(0, 1), hats.flatten(0, 1), None).view(heads, tall * keys, len(x))
        cell = _cells(y, key_points[:, 0], tall)[..., None]  # (N, H, 1)
        rows = cell.floor().nan_to_num().clamp_(0, tall - 2) + torch.arange(2, device=y.device)
        shares = (cell - rows).abs_().neg_().add_(1).clamp_(min=0)  # (N, H, 2)
        places = rows.int() * keys + torch.arange(keys, dtype=torch.int32, device=y.device)[:, None, None]

        def bias(head: int, start: int, stop: int) -> Tensor:
            two, weights = (each[:, start:stop].flatten(0, 1) for each in (places, shares))
            return F.embedding_bag(two, across[head], per_sample_weights=weights, mode="sum").view(keys, -1)

        return bias


def _steps(points: Tensor, size: int) -> int:
    """By how many cells, rounded up, queries leave a row of as many cells, and one more, as they lie between cells."""
    least, greatest = (points * ((size - 1) / 4) - torch.arange(len(points), device=points.device)).aminmax()
    return math.ceil((greatest - least).item() - 1e-3) + 1


def _cells(at: Tensor, keys: Tensor, size: int) -> Tensor:
    """Where in the table half the displacement falls: (W,), (N,) -> (N, W)."""
    return ((at - keys[:, None]) / 2 + 1) / 2 * (size - 1)
