"""Neighbourhood attention with relative position bias (NAT, Hassani et al., CVPR 2023), dilation 1.

The query at (i, j) attends to the K x K block whose first row is clamp(i - K // 2, 0, H - K), columns likewise, so
that each query has exactly K^2 keys.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from dat_cli.ops.attention import is_left_to_compiler
from dat_cli.ops.circumstances import is_compiled, is_plain_inference
from dat_cli.ops.kept import kept_by_table
from dat_cli.ops.local import attend_to_cells
from dat_cli.ops.parts import PART
from dat_cli.ops.patches import map_attention, patch_attention
from dat_cli.ops.recompute import recomputed_if_compiled
from dat_cli.ops.setting import is_reference
from dat_cli.ops.tiles import Tiles, cut_tiles, tile_bias


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
    if is_reference():
        return _by_query(query, key, value, table, kernel)
    in_graph = is_compiled() and is_plain_inference(query, key, value, table)
    in_graph = in_graph and not is_left_to_compiler(4, kernel, kernel, *query.shape[:-1])  # about what tiles see
    return (_by_tile_in_graph if in_graph else _by_tile)(query, key, value, table, kernel)


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
    rows, columns = (Tiles.along(side, kernel) for side in size)
    bias, kinds = kept_by_table(tile_bias, table, rows, columns, *size, beside=query)
    if rows.number == columns.number == 1:  # all queries see the whole map, which lies there already
        query, key, value = (x.flatten(1, 2).transpose(1, 2) for x in (query, key, value))  # (B, h, H W, d)
        return map_attention(query, key, value, bias).transpose(1, 2).unflatten(1, size)
    attend = partial(_attend_tiles, (rows, columns), bias, kinds.view(rows.number, columns.number))
    if torch.compiler.is_compiling() or not is_plain_inference(query, key, value, table):
        return attend(query, key, value, rows.number)
    # Of some images, or some rows of tiles of one, at a time: copies of all keys would not stay in a CPU's cache.
    copied = rows.number * rows.keys * columns.number * columns.keys * math.prod(key.shape[3:])  # of an image
    parts = zip(*(x.split(max(1, PART // copied)) for x in (query, key, value)), strict=True)
    attended = [attend(q, k, v, max(1, rows.number * PART // copied)) for q, k, v in parts]
    return torch.cat(attended) if len(attended) > 1 else attended[0]


def _attend_tiles(
    tiles: tuple[Tiles, Tiles], bias: Tensor, kinds: Tensor, query: Tensor, key: Tensor, value: Tensor, most: int
) -> Tensor:
    """(B, H, W, h, d), and kinds (Ty, Tx) -> (B, H, W, h, d), with so many rows of tiles at a time."""
    rows, columns = tiles
    of_queries, of_keys = (partial(cut_tiles, rows=rows, columns=columns, of_keys=which) for which in (False, True))
    if most >= len(kinds):
        # The backward cuts again, instead of keeping each cell as often as it is seen.
        q = recomputed_if_compiled(lambda x: _copied(of_queries(x)), query)
        k, v = (recomputed_if_compiled(lambda x: _copied(of_keys(x)), each) for each in (key, value))
        attended = _attend_copies(tiles, q, k, v, bias, kinds)
    else:
        queries, keys, values = of_queries(query), of_keys(key), of_keys(value)
        attended = query.new_empty([queries.shape[i] for i in (0, 1, 4, 2, 5, 3, 6)])  # (B, Ty, T, Tx, T', h, d)
        parts = zip(*(x.split(most, dim=1) for x in (queries, keys, values, attended)), kinds.split(most), strict=True)
        for q, k, v, into, of_rows in parts:
            into.copy_(_attend_copies(tiles, _copied(q), _copied(k), _copied(v), bias, of_rows))
    return attended.flatten(3, 4).flatten(1, 2)[:, : query.shape[1], : query.shape[2]]


def _copied(tiles: Tensor) -> Tensor:
    """(B, Ty, Tx, h, T, T', d) -> (B, Ty Tx, h, T T', d)."""
    return tiles.flatten(4, 5).flatten(1, 2)


def _attend_copies(
    tiles: tuple[Tiles, Tiles], query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor
) -> Tensor:
    """(B, n, h, M, d), keys and values (B, n, h, N, d), kinds (Ty, Tx) -> (B, Ty, T, Tx, T', h, d)."""
    rows, columns = tiles
    attended = patch_attention(query, key, value, bias, kinds.flatten())
    by_tile = attended.unflatten(3, (rows.queries, columns.queries)).unflatten(1, kinds.shape)
    return by_tile.permute(0, 1, 4, 2, 5, 3, 6)


# What is compiled would make the bias anew in each call.
_by_tile_in_graph = torch.library.custom_op(
    "dat_cli::neighborhood_attention",
    lambda *arguments: _by_tile(*arguments).contiguous(),
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor table, int kernel) -> Tensor",
)


@_by_tile_in_graph.register_fake
def _attended(query: Tensor, *_: object) -> Tensor:
    return query.new_empty(query.shape)
