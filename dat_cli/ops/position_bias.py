"""Position bias of queries on a grid and keys anywhere (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.circumstances import is_compiled, is_on_gpu, is_transformed, wants_gradients, without_autocast
from dat_cli.ops.setting import is_reference

Grid = tuple[Tensor, Tensor]
"""Points of a grid: y (H,) of its rows and x (W,) of its columns."""


def position_bias(table: Tensor, query_points: Grid, key_points: Tensor, dtype: torch.dtype) -> Tensor:
    """``deformable_bias`` in a type, with the backward that suits the machine.

    By products where a GPU needs gradients; on CPUs that of sampling measures two to four times faster.
    """
    by_products = wants_gradients(table, key_points) and not (is_reference() or is_transformed())
    if by_products and is_on_gpu(table):
        return separable_bias(table, query_points, key_points, dtype)
    return deformable_bias(table, query_points, key_points).to(dtype)


def deformable_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """Look up half the displacement of query and key in the heads' tables, bilinearly.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,), normalised.
        key_points: (B, G, N, 2).

    Returns:
        (B, h, H W, N) in the points' type; head = group x (h / G) + head in group.
    """
    if is_compiled() and is_on_gpu(table):
        return gathered_bias(table, query_points, key_points)[0]
    batch, groups = key_points.shape[:2]
    keys = (key_points / 2).flatten(0, 1)  # (B G, N, 2)
    y, x = ((at / 2)[:, None] - axis[:, None] for at, axis in zip(query_points, keys.unbind(-1), strict=True))
    # Of each axis alone, (B G, H, N) and (B G, W, N): what all pairs have is written once, and not computed with.
    shape = (keys.shape[0], y.shape[1], x.shape[1], y.shape[2])
    y, x = (each.expand(shape).flatten(1, 2) for each in (y[:, :, None], x[:, None]))
    tables = table.to(keys.dtype).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
    bias = bilinear_sample(tables.flatten(0, 1), y, x)  # (B G, h / G, H W, N)
    return bias.unflatten(0, (batch, groups)).flatten(1, 2)


def gathered_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same cell by cell, and how it changes with the key's y and with its x: (B, h, H W, N) each.

    As it is written here the compiler makes one pass of it that writes nothing but the result. Of sampling, or where
    shapes change on the way, it writes each of the four corners into memory.
    """
    heads, *sizes = table.shape
    keys = key_points / 2
    axes = zip(query_points, keys.unbind(-1), strict=True)
    y, x = ((at / 2)[:, None] - axis[:, :, None] for at, axis in axes)  # (B, G, H, N), (B, G, W, N)
    y, x = y[:, :, None, :, None], x[:, :, None, None]
    shape = (*keys.shape[:2], heads // keys.shape[1], y.shape[3], x.shape[4], keys.shape[2])
    before, behind = [], []
    for at, size in zip((y, x), sizes, strict=True):
        cell = ((at + 1) / 2 * (size - 1)).clamp(-2, size)
        first = cell.floor()
        cells = (first.int() + 2).clamp(0, size + 2)  # also of what is no number
        before.append(cells.expand(shape).flatten(1, 2).flatten(2, 3))
        behind.append((cell - first).expand(shape).flatten(1, 2).flatten(2, 3))
    (row, column), (below, right) = before, behind  # (B, h, H W, N)
    tables = F.pad(table.to(keys.dtype), (2, 2, 2, 2))
    head = torch.arange(heads, device=table.device)[:, None, None]
    (a, b), (c, d) = ((tables[head, row + i, column], tables[head, row + i, column + 1]) for i in (0, 1))
    upper, lower = torch.lerp(a, b, right), torch.lerp(c, d, right)
    down, across = (-(size - 1) / 4 for size in sizes)
    return torch.lerp(upper, lower, below), (lower - upper) * down, torch.lerp(b - a, d - c, below) * across


def separable_bias(table: Tensor, query_points: Grid, key_points: Tensor, dtype: torch.dtype) -> Tensor:
    """``position_bias`` with a backward made of products of matrices, which keeps nothing but what it was given.

    Bilinear weights are separable: what a key adds to the map of queries is Y T X^T, with its table T and the weights
    Y of rows and X of columns. The backward of sampling adds all pairs to the few entries of the table one by one,
    which the many threads of a GPU do in turn.
    """
    return cast("Tensor", _Separable.apply(table, *query_points, key_points, dtype))


class _Separable(torch.autograd.Function):
    """Of (h, 2 H0 - 1, 2 W0 - 1), (H,), (W,) and (B, G, N, 2)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(table, y, x, key_points)
        return deformable_bias(table, (y, x), key_points).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor, None]:
        table, *query_points, key_points = ctx.saved_tensors
        groups, keys = key_points.shape[1:3]
        tall, wide = table.shape[1:]
        axes = zip(query_points, key_points.unbind(-1), (tall, wide), strict=True)
        (y, y_slopes), (x, x_slopes) = (_hats(*each) for each in axes)  # (B, G, N, H, tall), (B, G, N, W, wide)
        gradient = gradients[0].unflatten(1, (groups, -1))  # (B, G, h', H W, N)
        by_key = gradient.unflatten(3, (y.shape[3], -1)).permute(0, 1, 5, 3, 2, 4).flatten(3, 4)  # (B, G, N, H h', W)
        with without_autocast(table):  # what moves positions is float32 or finer
            if is_compiled():
                # The slopes and their sums are one pass, and the table's gradient is as fine as that of the bias.
                # Tied to the gradient: what follows from its inputs alone it would compute in the forward, and keep.
                tied = key_points + 0 * gradients[0].flatten()[:1].nan_to_num()
                slopes = gathered_bias(table, (query_points[0], query_points[1]), tied)[1:]
                by_head = [(gradients[0] * each).sum(dim=2) for each in slopes]  # (B, h, N)
                to_keys = [each.unflatten(1, (groups, -1)).sum(dim=2) for each in by_head]
                y, x = y.to(gradient.dtype), x.to(gradient.dtype)
            by_key = by_key.to(x.dtype)
            to_rows = (by_key @ x).unflatten(3, (y.shape[3], -1)).flatten(4).flatten(2, 3)  # (B, G, N H, h' wide)
            to_tables = (y.flatten(2, 3).transpose(-1, -2) @ to_rows).sum(dim=0, dtype=key_points.dtype)
            to_table = to_tables.unflatten(-1, (-1, wide)).transpose(1, 2).flatten(0, 1).to(table.dtype)
            if not is_compiled():
                tables = table.to(x.dtype).unflatten(0, (groups, -1)).transpose(1, 2).flatten(2)  # (G, tall, h' wide)
                rows = (y.flatten(2, 3) @ tables).unflatten(2, (keys, -1)).unflatten(4, (-1, wide)).flatten(3, 4)
                to_x = by_key.transpose(-1, -2) @ rows  # (B, G, N, W, wide)
                to_y = (to_rows @ tables.transpose(-1, -2)).view_as(y)
                to_keys = [(to_y * y_slopes).sum(dim=(-1, -2)), (to_x * x_slopes).sum(dim=(-1, -2))]
        return to_table, None, None, torch.stack(to_keys, dim=-1), None


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
