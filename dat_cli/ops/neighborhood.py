"""Neighbourhood attention with relative position bias (NAT, Hassani et al., CVPR 2023), dilation 1.

The query at (i, j) attends to the K x K block whose first row is clamp(i - K // 2, 0, H - K), columns likewise, so
that each query has exactly K^2 keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.local import attend_to_cells
from dat_cli.ops.setting import is_reference


def neighborhood_attention(query: Tensor, key: Tensor, value: Tensor, table: Tensor, kernel: int) -> Tensor:
    """Attend to the neighbourhood of each query.

    Args:
        query: (B, H, W, h, d), H and W at least ``kernel``.
        key: (B, H, W, h, d).
        value: (B, H, W, h, d).
        table: (h, 2 K - 1, 2 K - 1), bias by (y, x) of key minus query plus K - 1.
        kernel: K, odd.

    Returns:
        (B, H, W, h, d).
    """
    attend = _by_query if is_reference() else _by_tile
    return attend(query, key, value, table, kernel)


def _by_query(query: Tensor, key: Tensor, value: Tensor, table: Tensor, kernel: int) -> Tensor:
    """The plain form: gather the K^2 keys of every query."""
    cells, bias = neighborhoods(table, query.shape[1], query.shape[2], kernel)
    return attend_to_cells(query, key, value, bias, cells)[0]


def neighborhoods(table: Tensor, height: int, width: int, kernel: int) -> tuple[Tensor, Tensor]:
    """The keys of every query, (H, W, K K) as row x W + column, and their bias, (h, H, W, K K).

    Args:
        table: (h, 2 K - 1, 2 K - 1).
        height: H.
        width: W.
        kernel: K.
    """
    rows, rows_offset = _window(height, kernel, table.device)  # (H, K)
    columns, columns_offset = _window(width, kernel, table.device)  # (W, K)
    cells = rows[:, None, :, None] * width + columns[None, :, None, :]  # (H, W, K, K)
    bias = table[:, rows_offset[:, None, :, None], columns_offset[None, :, None, :]]  # (h, H, W, K, K)
    return cells.flatten(2), bias.flatten(3)


def _window(size: int, kernel: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along one axis, the positions of the keys of each query and their place in the table: (size, K) each."""
    queries = torch.arange(size, device=device)[:, None]
    keys = (queries - kernel // 2).clamp(0, size - kernel) + torch.arange(kernel, device=device)
    return keys, keys - queries + kernel - 1


def _by_tile(query: Tensor, key: Tensor, value: Tensor, table: Tensor, kernel: int) -> Tensor:
    """The fast form: dense masked attention of each K x K tile of queries to the 2 K - 1 rows and columns it can see.

    Gathering costs 3.4 copies of keys and values instead of 49, and the products are dense matrices.
    """
    batch, height, width, heads, dim = query.shape
    rows, columns = _Tiles.along(height, kernel, query.device), _Tiles.along(width, kernel, query.device)
    below, right = len(rows.keys) * kernel - height, len(columns.keys) * kernel - width
    tiles = F.pad(query, (0, 0, 0, 0, 0, right, 0, below))
    tiles = tiles.unflatten(2, (-1, kernel)).unflatten(1, (-1, kernel))  # (B, Ty, K, Tx, K, h, d)
    count = len(rows.keys) * len(columns.keys) * heads
    tiles = tiles.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, count, kernel * kernel, dim)  # (B, Ty Tx h, K K, d)
    keys, values = (_gather(x, rows.keys, columns.keys) for x in (key, value))  # (B, Ty Tx h, U V, d)
    bias = _tile_bias(table, rows, columns).to(query.dtype)  # (Ty Tx h, K K, U V)
    attended = F.scaled_dot_product_attention(tiles, keys, values, attn_mask=bias[None])
    attended = attended.reshape(batch, len(rows.keys), len(columns.keys), heads, kernel, kernel, dim)
    attended = attended.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)  # (B, Ty K, Tx K, h, d)
    return attended[:, :height, :width]


def _gather(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, H, W, h, d) -> (B, Ty Tx h, U V, d): the rows (Ty, U) and columns (Tx, V) that each tile sees."""
    x = x.index_select(1, rows.flatten()).unflatten(1, rows.shape)  # (B, Ty, U, W, h, d)
    x = x.index_select(3, columns.flatten()).unflatten(3, columns.shape)  # (B, Ty, U, Tx, V, h, d)
    x = x.permute(0, 1, 3, 5, 2, 4, 6)  # (B, Ty, Tx, h, U, V, d)
    return x.flatten(4, 5).flatten(1, 3)


@dataclass(frozen=True)
class _Tiles:
    """One axis cut into T tiles of K queries, each of which sees U keys.

    Attributes:
        keys: (T, U), positions of the keys.
        offset: (T, K, U), place of each pair in the bias table, clamped to it.
        visible: (T, K, U), whether the key belongs to the query's neighbourhood.
    """

    keys: Tensor
    offset: Tensor
    visible: Tensor

    @classmethod
    def along(cls, size: int, kernel: int, device: torch.device) -> _Tiles:
        tiles = -(-size // kernel)
        seen = min(2 * kernel - 1, size)
        queries = torch.arange(tiles * kernel, device=device).view(tiles, kernel)
        first = (queries - kernel // 2).clamp(0, size - kernel)  # of the neighbourhood
        start = (queries[:, :1] - kernel // 2).clamp(0, size - seen)  # of what the tile sees
        keys = start + torch.arange(seen, device=device)
        beyond = keys[:, None] - first[..., None]
        offset = (keys[:, None] - queries[..., None] + kernel - 1).clamp(0, 2 * kernel - 2)
        return cls(keys, offset, (beyond >= 0) & (beyond < kernel))


def _tile_bias(table: Tensor, rows: _Tiles, columns: _Tiles) -> Tensor:
    """(Ty Tx h, K K, U V): the bias of each pair in a tile, -inf where the key is no neighbour."""
    y, x = rows.offset[:, None, :, None, :, None], columns.offset[None, :, None, :, None, :]
    visible = rows.visible[:, None, :, None, :, None] & columns.visible[None, :, None, :, None, :]
    bias = table[:, y, x].masked_fill(~visible, float("-inf"))  # (h, Ty, Tx, K, K, U, V)
    return bias.flatten(5).flatten(3, 4).permute(1, 2, 0, 3, 4).flatten(0, 2)
