"""Attention to sampled keys, with a bilinear position bias (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dat_cli.ops.attention import attention, attention_weights
from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.circumstances import is_exported, is_transformed, wants_gradients, without_autocast
from dat_cli.ops.setting import is_reference

# Pairs of query and key that may stand in memory at once, 128 MiB in float32: an image of 2048 x 1024 has 67 million
# in each head of DAT's third stage.
_PAIRS = 2**25

Grid = tuple[Tensor, Tensor]
"""Points of a grid: y (H,) of its rows and x (W,) of its columns."""


def deformable_attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value.

    Where all pairs would take more than 128 MiB, some rows of queries are attended at a time, and their bias and
    weights are computed again for the backward pass instead of being kept.

    Args:
        query: (B, H, W, h, d).
        key: (B, N, h, d), heads in the order of their groups.
        value: (B, N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1), position bias by displacement.
        query_points: y (H,) and x (W,), where queries stand; float32 or float64.
        key_points: (B, G, N, 2), where keys were sampled; the same type.

    Returns:
        (B, H, W, h, d).
    """
    batch, height, width, heads, _ = query.shape
    rows = max(1, _PAIRS // max(1, batch * width * key.shape[1] * heads))
    if rows >= height:
        return _attend(query, key, value, table, query_points, key_points)
    tops = range(0, height, rows)
    y, x = query_points
    parts = [(query[:, top : top + rows], key, value, table, (y[top : top + rows], x), key_points) for top in tops]
    if torch.is_grad_enabled() and not (is_reference() or is_exported() or is_transformed()):
        return torch.cat([checkpoint(_attend, *p, use_reentrant=False, preserve_rng_state=False) for p in parts], dim=1)
    return torch.cat([_attend(*part) for part in parts], dim=1)


def deformable_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """Look up half the displacement of query and key in the heads' tables, bilinearly.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,), normalised.
        key_points: (B, G, N, 2).

    Returns:
        (B, h, H W, N) in the points' type; head = group x (h / G) + head in group.
    """
    y, x = (at[:, None] - keys[:, :, None] for at, keys in zip(query_points, key_points.unbind(-1), strict=True))
    batch, groups, width, keys = x.shape
    # Of each axis alone, (B, G, H, N) and (B, G, W, N): what all pairs have is written once, and not computed with.
    shape = (batch, groups, y.shape[2], width, keys)
    y, x = (each.expand(shape).flatten(2, 3).flatten(0, 1) for each in ((y / 2)[:, :, :, None], (x / 2)[:, :, None]))
    tables = table.to(x.dtype).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
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


def deformable_weights(query: Tensor, key: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias), the weights that ``deformable_attention`` gives to its values.

    Args:
        query: (B, H, W, h, d).
        key: (B, N, h, d).
        table: As there.
        query_points: As there.
        key_points: As there.

    Returns:
        (B, h, H W, N).
    """
    bias = deformable_bias(table, query_points, key_points).to(query.dtype)
    return attention_weights(query.flatten(1, 2).transpose(1, 2), key.transpose(1, 2), bias)


def _attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    bias = _choose_bias(table, query_points, key_points).to(query.dtype)  # (B, h, M, N)
    queries = query.flatten(1, 2).transpose(1, 2)  # (B, h, M, d)
    attended = attention(queries, key.transpose(1, 2), value.transpose(1, 2), bias)
    return attended.transpose(1, 2).reshape(query.shape)


def _choose_bias(table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """By products where a GPU needs gradients; on CPUs sampling measures two to four times faster, backward as well."""
    by_products = wants_gradients(table, key_points) and not (table.is_cpu or is_reference())
    look_up = separable_bias if by_products else deformable_bias
    return look_up(table, query_points, key_points)


def _hats(at: Tensor, keys: Tensor, size: int) -> Tensor:
    """Bilinear weights along one axis, (H,) and (B, G, N) -> (B, G, N, H, size): two of each row are not 0."""
    cell = ((at - keys[..., None]) / 2 + 1) / 2 * (size - 1)  # (B, G, N, H)
    cells = torch.arange(size, dtype=cell.dtype, device=cell.device)
    return (1 - (cell[..., None] - cells).abs()).clamp(min=0)
