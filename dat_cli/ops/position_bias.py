"""Position bias of queries on a grid and keys anywhere (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.circumstances import wants_gradients, without_autocast
from dat_cli.ops.setting import is_reference

Grid = tuple[Tensor, Tensor]
"""Points of a grid: y (H,) of its rows and x (W,) of its columns."""


def position_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """``deformable_bias`` in the faster of two ways.

    By products where a GPU needs gradients; on CPUs sampling measures two to four times faster, backward as well.
    """
    by_products = wants_gradients(table, key_points) and not (table.is_cpu or is_reference())
    look_up = separable_bias if by_products else deformable_bias
    return look_up(table, query_points, key_points)


def deformable_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """Look up half the displacement of query and key in the heads' tables, bilinearly.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,), normalised.
        key_points: (B, G, N, 2).

    Returns:
        (B, h, H W, N) in the points' type; head = group x (h / G) + head in group.
    """
    batch, groups = key_points.shape[:2]
    keys = (key_points / 2).flatten(0, 1)  # (B G, N, 2)
    y, x = ((at / 2)[:, None] - axis[:, None] for at, axis in zip(query_points, keys.unbind(-1), strict=True))
    # Of each axis alone, (B G, H, N) and (B G, W, N): what all pairs have is written once, and not computed with.
    shape = (keys.shape[0], y.shape[1], x.shape[1], y.shape[2])
    y, x = (each.expand(shape).flatten(1, 2) for each in (y[:, :, None], x[:, None]))
    tables = table.to(keys.dtype).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
    bias = bilinear_sample(tables.flatten(0, 1), y, x)  # (B G, h / G, H W, N)
    return bias.unflatten(0, (batch, groups)).flatten(1, 2)


def separable_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """The same as products of matrices, for each key Y T X^T, because bilinear weights are separable.

    Its backward is made of products, too, while that of sampling adds all pairs to the few entries of the table one
    by one, which the many threads of a GPU do in turn.
    """
    groups, keys = key_points.shape[1:3]
    sides = table.shape[1:]
    axes = zip(query_points, key_points.unbind(-1), sides, strict=True)
    y, x = (_hats(*each) for each in axes)  # (B, G, N, H, 2 H0 - 1), (B, G, N, W, 2 W0 - 1)
    tables = table.to(key_points.dtype).unflatten(0, (groups, -1)).transpose(1, 2).flatten(2)  # (G, 2 H0 - 1, h / G ..)
    with without_autocast(table):  # positions, and what moves them, are float32 or finer
        rows = y.flatten(2, 3) @ tables  # (B, G, N H, h / G (2 W0 - 1))
        rows = rows.unflatten(-1, (-1, sides[1])).unflatten(2, (keys, -1)).flatten(3, 4)  # (B, G, N, H h / G, 2 W0 - 1)
        bias = rows @ x.transpose(-1, -2)  # (B, G, N, H h / G, W)
    bias = bias.unflatten(3, (y.shape[3], -1)).permute(0, 1, 4, 3, 5, 2)  # (B, G, h / G, H, W, N)
    return bias.flatten(3, 4).flatten(1, 2)


def _hats(at: Tensor, keys: Tensor, size: int) -> Tensor:
    """Bilinear weights along one axis, (H,) and (B, G, N) -> (B, G, N, H, size): two of each row are not 0."""
    cell = ((at - keys[..., None]) / 2 + 1) / 2 * (size - 1)  # (B, G, N, H)
    cells = torch.arange(size, dtype=cell.dtype, device=cell.device)
    return (1 - (cell[..., None] - cells).abs()).clamp(min=0)
