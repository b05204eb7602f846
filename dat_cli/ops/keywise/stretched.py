"""The bias of keys for queries of which several stand in a cell of the table."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.keywise.cells import cells
from dat_cli.ops.linear import linear
from dat_cli.ops.position_bias import Grid


class Stretched:
    """Where several queries stand in a cell: T X^T is one product for many keys, of whose rows means are taken.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """

    def __init__(self, table: Tensor, query_points: Grid) -> None:
        self.table, self.points = table, query_points

    def of_keys(self, key_points: Tensor) -> StretchedKeys:
        """The bias of keys at these positions, (N, 2)."""
        return StretchedKeys(self, key_points)


class StretchedKeys:
    """The bias of some keys.

    Args:
        whole: Of all keys.
        key_points: (N, 2).
    """

    def __init__(self, whole: Stretched, key_points: Tensor) -> None:
        heads, tall, wide = whole.table.shape
        y, x = whole.points
        keys = len(key_points)
        cell = cells(x, key_points[:, 1], wide)[..., None]  # (N, W, 1)
        hats = (cell - torch.arange(wide, device=x.device)).abs_().neg_().add_(1).clamp_(min=0)
        self._across = linear(whole.table.flatten(0, 1), hats.flatten(0, 1), None).view(heads, tall * keys, len(x))
        cell = cells(y, key_points[:, 0], tall)[..., None]  # (N, H, 1)
        rows = cell.floor().clamp_(0, tall - 2) + torch.arange(2, device=y.device)
        self._shares = (cell - rows).abs_().neg_().add_(1).clamp_(min=0)  # (N, H, 2)
        self._places = rows.int() * keys + torch.arange(keys, dtype=torch.int32, device=y.device)[:, None, None]

    def of(self, head: int, rows: slice) -> Tensor:
        """For some rows of queries: (N, M)."""
        places, shares = (each[:, rows].flatten(0, 1) for each in (self._places, self._shares))
        mixed = F.embedding_bag(places, self._across[head], per_sample_weights=shares, mode="sum")
        return mixed.view(len(self._places), -1)
