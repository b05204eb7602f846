"""Attention to sampled keys, with a bilinear position bias (DAT, section 3.2, "Deformable relative position bias")."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.setting import is_reference

# Scores of one image that may stand in memory at once, 128 MiB in float32: an image of 2048 x 1024 has 67 million
# pairs of query and key in each head of DAT's third stage.
_SCORES = 2**25


def deformable_attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Tensor, key_points: Tensor
) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value.

    Args:
        query: (B, H, W, h, d).
        key: (B, N, h, d), heads in the order of their groups.
        value: (B, N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1), position bias by displacement.
        query_points: (H, W, 2), where queries stand; float32 or float64.
        key_points: (B, G, N, 2), where keys were sampled; the same type.

    Returns:
        (B, H, W, h, d).
    """
    _, height, width, heads, _ = query.shape
    per_row = width * key.shape[1] * heads
    rows = max(1, _SCORES // per_row)
    parts = [
        _attend(query[:, top : top + rows], key, value, table, query_points[top : top + rows], key_points)
        for top in range(0, height, rows)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def deformable_bias(table: Tensor, query_points: Tensor, key_points: Tensor) -> Tensor:
    """Look up half the displacement of query and key in the heads' tables, bilinearly.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: (M, 2), normalised (y, x).
        key_points: (B, G, N, 2).

    Returns:
        (B, h, M, N) in the points' type; head = group x (h / G) + head in group.
    """
    batch, groups, keys, _ = key_points.shape
    displacement = (query_points[:, None] - key_points.flatten(0, 1)[:, None]) / 2  # (B G, M, N, 2)
    tables = table.to(key_points.dtype).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
    bias = bilinear_sample(tables.flatten(0, 1), displacement)  # (B G, h / G, M, N)
    return bias.reshape(batch, table.shape[0], query_points.shape[0], keys)


def deformable_weights(query: Tensor, key: Tensor, table: Tensor, query_points: Tensor, key_points: Tensor) -> Tensor:
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
    bias = deformable_bias(table, query_points.flatten(0, 1), key_points).to(query.dtype)
    queries = query.flatten(1, 2).transpose(1, 2)  # (B, h, M, d)
    scores = queries @ key.permute(0, 2, 3, 1) * queries.shape[-1] ** -0.5 + bias
    return scores.softmax(dim=-1)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Tensor, key_points: Tensor
) -> Tensor:
    values = value.transpose(1, 2)  # (B, h, N, d)
    if is_reference():
        attended = deformable_weights(query, key, table, query_points, key_points) @ values
    else:
        bias = deformable_bias(table, query_points.flatten(0, 1), key_points).to(query.dtype)  # (B, h, M, N)
        queries = query.flatten(1, 2).transpose(1, 2)  # (B, h, M, d)
        attended = F.scaled_dot_product_attention(queries, key.transpose(1, 2), values, attn_mask=bias)
    return attended.transpose(1, 2).reshape(query.shape)
