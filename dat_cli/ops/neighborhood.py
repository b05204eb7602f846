"""Neighbourhood attention with relative position bias (NAT, Hassani et al., CVPR 2023), dilation 1.

The query at (i, j) attends to the K x K block whose first row is clamp(i - K // 2, 0, H - K), columns likewise, so
that each query has exactly K^2 keys.
"""

from __future__ import annotations

from typing import NamedTuple

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
    """The fast form: dense masked attention of each tile of queries to the rows and columns that it can see.

    Gathering costs a few copies of keys and values instead of K^2, and the products are dense matrices.
    """
    size = (query.shape[1], query.shape[2])
    rows, columns = (_Tiles.along(side, kernel) for side in size)
    bias = _tile_bias(table, rows, columns, *size).to(query.dtype)  # (Ty Tx, h, T T', U U')
    if rows.count == columns.count == 1:  # all queries see the whole map, which lies there already
        query, key, value = (x.flatten(1, 2).transpose(1, 2) for x in (query, key, value))  # (B, h, H W, d)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return attended.transpose(1, 2).unflatten(1, size)
    queries = _cut(query, rows, columns, of_keys=False)  # (B, Ty Tx h, T T', d)
    keys, values = (_cut(x, rows, columns, of_keys=True) for x in (key, value))  # (B, Ty Tx h, U U', d)
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias.flatten(0, 1)[None])
    attended = attended.unflatten(2, (rows.queries, columns.queries))
    attended = attended.unflatten(1, (rows.count, columns.count, -1))  # (B, Ty, Tx, h, T, T', d)
    attended = attended.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)  # (B, Ty T, Tx T', h, d)
    return attended[:, : size[0], : size[1]]


# What it costs to copy a tile's keys, in queries that they could be multiplied with: on CPUs, tiles of 4 to 8 queries
# and whole maps up to 17 measured best.
_COPY = 6


class _Tiles(NamedTuple):
    """One axis cut into ``count`` tiles, each of T = ``queries`` that see U = ``keys`` from ``before`` the first on."""

    count: int
    queries: int
    keys: int
    before: int

    @classmethod
    def along(cls, size: int, kernel: int) -> _Tiles:
        """The division of least cost: pairs that are multiplied, and keys that are copied."""
        best = cls(1, size, size, 0)
        for queries in range(kernel // 2 + 1, size):
            tiles = cls(-(-size // queries), queries, queries + kernel - 1, kernel // 2)
            # Near the end neighbourhoods are shifted back, and must not begin before the last tile's keys.
            if (tiles.count - 1) * queries - tiles.before <= size - kernel:
                best = min(best, tiles, key=lambda each: each.count * each.keys * (each.queries + _COPY))
        return best


def _cut(x: Tensor, rows: _Tiles, columns: _Tiles, *, of_keys: bool) -> Tensor:
    """(B, H, W, h, d) -> (B, Ty Tx h, cells of a tile, d), for its queries or its keys; zeros beyond the map."""
    padding = [0, 0, 0, 0]
    for axis, tiles in ((2, columns), (1, rows)):
        before = tiles.before if of_keys else 0
        padding += [before, (tiles.count - 1) * tiles.queries + (tiles.keys if of_keys else tiles.queries)]
        padding[-1] -= before + x.shape[axis]
    x = F.pad(x, padding)
    for axis, tiles in ((1, rows), (2, columns)):
        x = x.unfold(axis, tiles.keys if of_keys else tiles.queries, tiles.queries)
    x = x.permute(0, 1, 2, 3, 5, 6, 4)  # (B, Ty, Tx, h, U, U', d)
    return x.flatten(4, 5).flatten(1, 3)


def _tile_bias(table: Tensor, rows: _Tiles, columns: _Tiles, height: int, width: int) -> Tensor:
    """(Ty Tx, h, T T', U U'): the bias of each pair in a tile, -inf where the key is no neighbour."""
    kernel = (table.shape[-1] + 1) // 2
    padding: list[int] = []
    for tiles in (columns, rows):
        # Key u and query t of a tile meet at u - before - t + K - 1; what lies outside the table is no neighbour.
        first = -tiles.before - (tiles.queries - 1) + kernel - 1
        last = tiles.keys - 1 - tiles.before + kernel - 1
        padding += [-first, last - (2 * kernel - 2)]
    bias = F.pad(table, padding).unfold(1, rows.keys, 1).unfold(2, columns.keys, 1)
    bias = bias.flip(1, 2).flatten(3).flatten(1, 2)  # (h, T, T', U, U') -> (h, T T', U U')
    seen_y, seen_x = (_visible(*each, kernel, table.device) for each in ((rows, height), (columns, width)))
    seen = seen_y[:, None, :, None, :, None] & seen_x[None, :, None, :, None, :]  # (Ty, Tx, T, T', U, U')
    seen = seen.flatten(4).flatten(2, 3).flatten(0, 1)[:, None]
    return torch.where(seen, bias, float("-inf"))


def _visible(tiles: _Tiles, size: int, kernel: int, device: torch.device) -> Tensor:
    """(count, T, U): whether a key belongs to a query's neighbourhood, along one axis."""
    tile = torch.arange(tiles.count, device=device)[:, None, None] * tiles.queries
    query = tile + torch.arange(tiles.queries, device=device)[:, None]
    key = tile - tiles.before + torch.arange(tiles.keys, device=device)
    # Queries beyond the map see what the last one sees: of an empty row, softmax would make no numbers.
    first = (query - kernel // 2).clamp(0, size - kernel)
    return (key >= first) & (key < first + kernel)
