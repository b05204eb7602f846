"""Position bias of queries on a grid and keys anywhere (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.circumstances import is_transformed, wants_gradients, without_autocast
from dat_cli.ops.setting import is_reference

Grid = tuple[Tensor, Tensor]
"""Points of a grid: y (H,) of its rows and x (W,) of its columns."""


def position_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """``deformable_bias``, with the backward that suits the machine.

    By products where a GPU needs gradients; on CPUs that of sampling measures two to four times faster.
    """
    by_products = wants_gradients(table, key_points) and not (table.is_cpu or is_reference() or is_transformed())
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
    """The same with a backward made of products of matrices, which keeps nothing but what it was given.

    Bilinear weights are separable: what a key adds to the map of queries is Y T X^T, with its table T and the weights
    Y of rows and X of columns. The backward of sampling adds all pairs to the few entries of the table one by one,
    which the many threads of a GPU do in turn.
    """
    return cast("Tensor", _Separable.apply(table, *query_points, key_points))


class _Separable(torch.autograd.Function):
    """Of (h, 2 H0 - 1, 2 W0 - 1), (H,), (W,) and (B, G, N, 2)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor) -> Tensor:
        ctx.save_for_backward(table, y, x, key_points)
        return deformable_bias(table, (y, x), key_points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor]:
        table, *query_points, key_points = ctx.saved_tensors
        batch, groups, keys = key_points.shape[:3]
        height, width = (len(axis) for axis in query_points)
        tall, wide = table.shape[1:]
        axes = zip(query_points, key_points.unbind(-1), (tall, wide), strict=True)
        (y, y_slopes), (x, x_slopes) = (_hats(*each) for each in axes)  # (B, G, N, H, tall), (B, G, N, W, wide)
        tables = table.to(key_points.dtype).unflatten(0, (groups, -1)).transpose(1, 2).flatten(2)  # (G, tall, h' wide)
        with without_autocast(table):  # positions, and what moves them, are float32 or finer
            gradient = gradients[0].to(key_points.dtype).unflatten(1, (groups, -1)).unflatten(3, (height, width))
            gradient = gradient.permute(0, 1, 5, 3, 2, 4).flatten(3, 4)  # (B, G, N, H h', W)
            rows = (y.flatten(2, 3) @ tables).view(batch, groups, keys, -1, wide)  # (B, G, N, H h', wide)
            to_x = gradient.transpose(-1, -2) @ rows  # (B, G, N, W, wide)
            to_rows = (gradient @ x).view(batch, groups, keys * height, -1)  # (B, G, N H, h' wide)
            to_y = (to_rows @ tables.transpose(-1, -2)).view_as(y)
            to_tables = (y.flatten(2, 3).transpose(-1, -2) @ to_rows).sum(dim=0)  # (G, tall, h' wide)
        to_table = to_tables.unflatten(-1, (-1, wide)).transpose(1, 2).flatten(0, 1).to(table.dtype)
        to_keys = [(each * slopes).sum(dim=(-1, -2)) for each, slopes in ((to_y, y_slopes), (to_x, x_slopes))]
        return to_table, None, None, torch.stack(to_keys, dim=-1)


def _hats(at: Tensor, keys: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Bilinear weights along one axis, (H,) and (B, G, N) -> (B, G, N, H, size): two of each row are not 0.

    And how they change with the key; where it stands on a cell, to the side that sampling takes.
    """
    cell = (((at - keys[..., None]) / 2 + 1) / 2 * (size - 1))[..., None]  # (B, G, N, H, 1)
    cells = torch.arange(size, dtype=cell.dtype, device=cell.device)
    weights = (1 - (cell - cells).abs()).clamp(min=0)
    before = cell.floor()
    slopes = (cells == before).to(cell.dtype) - (cells == before + 1).to(cell.dtype)
    return weights, slopes * ((size - 1) / 4)
