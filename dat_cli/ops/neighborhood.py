"""Neighbourhood attention with relative position bias (NAT, Hassani et al., CVPR 2023), dilation 1.

The query at (i, j) attends to the K x K block whose first row is clamp(i - K // 2, 0, H - K), columns likewise, so
that each query has exactly K^2 keys.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.attention import attention
from dat_cli.ops.local import attend_to_cells
from dat_cli.ops.relative import relative_bias
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
    if rows.number == columns.number == 1:  # all queries see the whole map, which lies there already
        query, key, value = (x.flatten(1, 2).transpose(1, 2) for x in (query, key, value))  # (B, h, H W, d)
        attended = attention(query, key, value, bias)
        return attended.transpose(1, 2).unflatten(1, size)
    queries = _cut(query, rows, columns, of_keys=False)  # (B, Ty Tx h, T T', d)
    keys, values = (_cut(x, rows, columns, of_keys=True) for x in (key, value))  # (B, Ty Tx h, U U', d)
    attended = attention(queries, keys, values, bias.flatten(0, 1)[None])
    attended = attended.unflatten(2, (rows.queries, columns.queries))
    attended = attended.unflatten(1, (rows.number, columns.number, -1))  # (B, Ty, Tx, h, T, T', d)
    attended = attended.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)  # (B, Ty T, Tx T', h, d)
    return attended[:, : size[0], : size[1]]


# What it costs to copy a tile's keys, in queries that they could be multiplied with: on CPUs, tiles of 4 to 8 queries
# and whole maps up to 17 measured best.
_COPY = 6


class _Tiles(NamedTuple):
    """One axis cut into ``number`` tiles of T ``queries``, which see U ``keys`` from ``before`` the first query on."""

    number: int
    queries: int
    keys: int
    before: int

    @property
    def kinds(self) -> int:
        """Tiles that differ: the first, the last, and all between, whose neighbourhoods are not shifted back."""
        return min(self.number, 3)

    def kind_of_each(self, device: torch.device) -> Tensor:
        """(number,), from 0."""
        tile = torch.arange(self.number, device=device)
        return tile.clamp(max=1) + (tile == self.number - 1) * (self.kinds // 3)

    @classmethod
    def along(cls, size: int, kernel: int) -> _Tiles:
        """The division of least cost: pairs that are multiplied, and keys that are copied."""
        best = cls(1, size, size, 0)
        for queries in range(kernel // 2 + 1, size):
            tiles = cls(-(-size // queries), queries, queries + kernel - 1, kernel // 2)
            # Near the end neighbourhoods are shifted back, and must not begin before the last tile's keys.
            if (tiles.number - 1) * queries - tiles.before <= size - kernel:
                best = min(best, tiles, key=lambda each: each.number * each.keys * (each.queries + _COPY))
        return best


def _cut(x: Tensor, rows: _Tiles, columns: _Tiles, *, of_keys: bool) -> Tensor:
    """(B, H, W, h, d) -> (B, Ty Tx h, cells of a tile, d), for its queries or its keys; zeros beyond the map."""
    padding = [0, 0, 0, 0]
    for axis, tiles in ((2, columns), (1, rows)):
        before = tiles.before if of_keys else 0
        padding += [before, (tiles.number - 1) * tiles.queries + (tiles.keys if of_keys else tiles.queries)]
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
    bias = relative_bias(F.pad(table, padding), (rows.keys, columns.keys))
    y = _walls(rows, height, kernel, like=table)
    x = y if height == width else _walls(columns, width, kernel, like=table)
    walls = y[:, None, :, None, :, None] + x[None, :, None, :, None, :]  # (kinds, kinds', T, T', U, U')
    bias = bias + walls.flatten(4).flatten(2, 3).flatten(0, 1)[:, None]
    if rows.number == rows.kinds and columns.number == columns.kinds:
        return bias
    y, x = (tiles.kind_of_each(table.device) for tiles in (rows, columns))
    return bias.index_select(0, (y[:, None] * columns.kinds + x).flatten())


def _walls(tiles: _Tiles, size: int, kernel: int, like: Tensor) -> Tensor:
    """(kinds, T, U): along one axis, 0 where a key belongs to a query's neighbourhood, else -inf."""
    query = torch.arange(tiles.queries, device=like.device)[:, None]
    key = torch.arange(-tiles.before, tiles.keys - tiles.before, device=like.device)
    if tiles.number > 1:
        kind = torch.arange(tiles.kinds, device=like.device)[:, None, None]
        tile = (kind + (kind == tiles.kinds - 1) * (tiles.number - tiles.kinds)) * tiles.queries
        query, key = tile + query, tile + key
    # Queries beyond the map see what the last one sees: of an empty row, softmax would make no numbers.
    middle = (query - kernel // 2).clamp(0, size - kernel) + kernel // 2
    walls = torch.where((key - middle).abs() > kernel // 2, float("-inf"), like.new_zeros(()))
    return walls.expand(tiles.kinds, -1, -1)
