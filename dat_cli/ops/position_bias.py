"""Position bias of queries on a grid and keys anywhere (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.circumstances import (
    is_compiled,
    is_exported_or_transformed,
    is_on_gpu,
    is_traced_or_transformed,
    wants_gradients,
    without_autocast,
)
from dat_cli.ops.setting import is_reference

_WORTH = 2**16  # pairs for whose bias another thread is worth while

Grid = tuple[Tensor, Tensor]
"""Points of a grid: y (H,) of its rows and x (W,) of its columns."""


def position_bias(table: Tensor, query_points: Grid, key_points: Tensor, dtype: torch.dtype) -> Tensor:
    """``deformable_bias`` in a type, with the backward that suits the machine.

    By products where a GPU needs gradients; on CPUs that of sampling measures two to four times faster.
    """
    by_products = is_on_gpu(table) and wants_gradients(table, key_points)
    if by_products and not (is_reference() or is_exported_or_transformed()):
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
    if is_compiled() and is_on_gpu(table) and not is_reference():
        return gathered_bias(table, query_points, key_points)[0]
    eager = not (torch.compiler.is_compiling() or is_traced_or_transformed())
    parts = row_parts(len(table), query_points, key_points) if eager else 1
    bias = bias_by_rows(table, query_points, key_points, parts)
    return bias.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def row_parts(heads: int, query_points: Grid, key_points: Tensor) -> int:
    """Into how many parts to cut the rows: on CPUs no two threads sample the same map, of which each group has one."""
    rows, keys = len(query_points[0]), key_points.shape[2]
    maps = max(1, key_points.shape[:2].numel())
    pairs = key_points.shape[0] * heads * rows * len(query_points[1]) * keys
    wanted = min(-(-torch.get_num_threads() // maps), pairs // _WORTH) if key_points.is_cpu else 1
    return next((parts for parts in range(wanted, 2 * wanted + 1) if parts and rows % parts == 0), 1)


def bias_by_rows(table: Tensor, query_points: Grid, key_points: Tensor, parts: int) -> Tensor:
    """The same for parts of the grid's rows, each of which a thread may sample.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
        key_points: (B, G, N, 2).
        parts: P, divides H.

    Returns:
        (B, G, P, h / G, H W / P, N).
    """
    batch, groups = key_points.shape[:2]
    tables = table.to(key_points.dtype).unflatten(0, (groups, -1))[None, :, None]
    tables = tables.expand(batch, -1, parts, -1, -1, -1).flatten(0, 2)
    eager = not (is_reference() or torch.compiler.is_compiling() or is_traced_or_transformed())
    sample = _sample_pairs if eager and key_points.is_cpu else _sample_axes
    return sample(tables, query_points, (key_points / 2).flatten(0, 1), parts).unflatten(0, (batch, groups, parts))


def _sample_pairs(tables: Tensor, query_points: Grid, half_keys: Tensor, parts: int) -> Tensor:
    """With a displacement as one complex number, so that a single subtraction writes them all as sampling wants them.

    (B G P, h / G, ...), keys halved (B G, N, 2) -> (B G P, h / G, H W / P, N).
    """
    y, x = query_points
    queries = torch.complex(y[:, None].expand(-1, len(x)), x.expand(len(y), -1)).view(parts, -1, 1) / 2
    keys = torch.view_as_complex(half_keys.contiguous())[:, None, None]
    at = torch.view_as_real(queries - keys).flatten(0, 1)  # (B G P, H W / P, N, 2)
    return torch.grid_sampler_2d(tables.mT, at, 0, 0, True)  # (y, x) of a table is (x, y) of the one that is turned


def _sample_axes(tables: Tensor, query_points: Grid, half_keys: Tensor, parts: int) -> Tensor:
    """The same, for those who know no complex numbers: each axis alone, and put together for all pairs at the end."""
    y, x = query_points
    axes = zip((y.unflatten(0, (parts, -1)), x), half_keys[:, None, None].unbind(-1), strict=True)
    y, x = ((at / 2)[..., None] - keys for at, keys in axes)  # (B G, P, H / P, N), (B G, 1, W, N)
    x = x.expand(-1, parts, -1, -1)
    sampled = bilinear_sample(tables, y.flatten(0, 1)[:, :, None], x.flatten(0, 1)[:, None])
    return sampled.flatten(2, 3)  # from (B G P, h / G, H / P, W, N)


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
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, None]:
        table, y, x, key_points = ctx.saved_tensors
        (gradient,) = gradients  # (B, h, H W, N)
        with without_autocast(table):  # what moves positions is float32 or finer
            to_table = _to_table(gradient, table, (y, x), key_points) if ctx.needs_input_grad[0] else None
            to_keys = None
            if ctx.needs_input_grad[3]:
                move = _to_keys_by_pairs if is_compiled() else _to_keys_by_products
                to_keys = move(gradient, table, (y, x), key_points)
        return to_table, None, None, to_keys, None


def _to_table(gradient: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """Y^T gradient X, of all images and keys: as the table."""
    y, x = (each[0] for each in _hats(table, query_points, key_points))  # (B, G, N, H, tall), (B, G, N, W, wide)
    if is_compiled() and gradient.dtype == torch.bfloat16:  # as fine as what it is made of; float16 has no such range
        y, x = y.to(gradient.dtype), x.to(gradient.dtype)
    rows = _by_key(gradient, query_points, key_points).to(x.dtype) @ x  # (B, G, N, H h', wide)
    rows = rows.unflatten(3, (y.shape[3], -1)).flatten(4).flatten(2, 3)  # (B, G, N H, h' wide)
    summed = (y.flatten(2, 3).transpose(-1, -2) @ rows).sum(dim=0, dtype=key_points.dtype)  # (G, tall, h' wide)
    return summed.unflatten(-1, (-1, table.shape[2])).transpose(1, 2).flatten(0, 1).to(table.dtype)


def _to_keys_by_pairs(gradient: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """How all pairs move the keys, (B, G, N, 2): one pass of the compiler's, which writes nothing but the sums."""
    # Tied to the gradient: what follows from the inputs alone the compiler would make in the forward, and keep.
    tied = key_points + 0 * gradient.flatten()[:1].nan_to_num().sum()
    slopes = gathered_bias(table, query_points, tied)[1:]
    by_head = ((gradient * each).sum(dim=2) for each in slopes)  # (B, h, N)
    return torch.stack([each.unflatten(1, (key_points.shape[1], -1)).sum(dim=2) for each in by_head], dim=-1)


def _to_keys_by_products(gradient: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """The same by products of matrices: gradient X T^T for Y, and (Y T)^T gradient for X."""
    (y, y_slopes), (x, x_slopes) = _hats(table, query_points, key_points)
    groups, keys = key_points.shape[1:3]
    tables = table.to(y.dtype).unflatten(0, (groups, -1)).transpose(1, 2).flatten(2)  # (G, tall, h' wide)
    by_key = _by_key(gradient, query_points, key_points).to(y.dtype)
    rows = (y.flatten(2, 3) @ tables).unflatten(2, (keys, -1)).unflatten(4, (-1, table.shape[2])).flatten(3, 4)
    to_x = by_key.transpose(-1, -2) @ rows  # (B, G, N, W, wide)
    to_rows = (by_key @ x).unflatten(3, (y.shape[3], -1)).flatten(4).flatten(2, 3)  # (B, G, N H, h' wide)
    to_y = (to_rows @ tables.transpose(-1, -2)).view_as(y)
    return torch.stack([(to_y * y_slopes).sum(dim=(-1, -2)), (to_x * x_slopes).sum(dim=(-1, -2))], dim=-1)


def _by_key(gradient: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """(B, h, H W, N) -> (B, G, N, H h', W)."""
    of_maps = gradient.unflatten(1, (key_points.shape[1], -1)).unflatten(3, (len(query_points[0]), -1))
    return of_maps.permute(0, 1, 5, 3, 2, 4).flatten(3, 4)


def _hats(table: Tensor, query_points: Grid, key_points: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of rows and of columns, the bilinear weights of all cells, (B, G, N, H, 2 H0 - 1): two of each row are not 0.

    And how they change with the key; where it stands on a cell, to the side that sampling takes.
    """
    found = []
    for at, keys, size in zip(query_points, key_points.unbind(-1), table.shape[1:], strict=True):
        cell = (((at - keys[..., None]) / 2 + 1) / 2 * (size - 1))[..., None]  # (B, G, N, H, 1)
        cells = torch.arange(size, dtype=cell.dtype, device=cell.device)
        before = cell.floor()
        slopes = (cells == before).to(cell.dtype) - (cells == before + 1).to(cell.dtype)
        found.append(((1 - (cell - cells).abs()).clamp(min=0), slopes * ((size - 1) / 4)))
    return found
