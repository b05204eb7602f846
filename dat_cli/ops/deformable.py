"""Attention to sampled keys, with a bilinear position bias (DAT, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dat_cli.ops.attention import SCORES, attend_over, attention, attention_weights
from dat_cli.ops.circumstances import is_exported, is_plain_inference, is_transformed
from dat_cli.ops.position_bias import Grid, deformable_bias, position_bias
from dat_cli.ops.setting import is_reference

# Pairs of query and key that may stand in memory at once, 128 MiB in float32: an image of 2048 x 1024 has 67 million
# in each head of DAT's third stage.
_PAIRS = 2**25

_Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Grid, Tensor], Tensor]


def deformable_attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value.

    Where all pairs would take more than 128 MiB, a part of them is attended at a time, and their bias and weights
    are computed again for the backward pass instead of being kept.

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
    parts = (query, key, value, table, query_points, key_points)
    if is_plain_inference(query, key, value, table, key_points):
        in_cache = _attention_in_graph if torch.compiler.is_compiling() else _attention_in_cache
        return in_cache(query, key, value, table, *query_points, key_points)
    if _pairs(query, key) <= _PAIRS:
        return _attend(*parts)
    if torch.is_grad_enabled() and not (is_reference() or is_exported() or is_transformed()):
        return _in_parts(partial(checkpoint, _attend, use_reentrant=False, preserve_rng_state=False), _PAIRS, *parts)
    return _in_parts(_attend, _PAIRS, *parts)


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


def _in_parts(
    attend: _Attend,
    most: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    table: Tensor,
    query_points: Grid,
    key_points: Tensor,
) -> Tensor:
    """Attend with at most so many pairs at once: to some images, or to some groups of one, or from some of its rows."""
    batch, height = query.shape[:2]
    groups = key_points.shape[1]
    share = most / max(1, _pairs(query, key))
    again: Callable[..., Tensor] = partial(_in_parts, attend, most)
    if share >= 1 or batch == groups == height == 1:
        return attend(query, key, value, table, query_points, key_points)
    if batch > 1:
        size = max(1, int(share * batch))
        size -= size % torch.get_num_threads() if size > torch.get_num_threads() else 0  # threads share no image
        parts = zip(*(x.split(size) for x in (query, key, value, key_points)), strict=True)
        return torch.cat([again(*qkv, table, query_points, at) for *qkv, at in parts])
    if groups > 1:
        size = max(1, int(share * groups))
        heads = size * len(table) // groups
        qkv = (x.split(heads, dim=-2) for x in (query, key, value))
        parts = zip(*qkv, table.split(heads), key_points.split(size, dim=1), strict=True)
        return torch.cat([again(*part, query_points, at) for *part, at in parts], dim=-2)
    y, x = query_points
    size = max(1, int(share * height))
    parts = zip(query.split(size, dim=1), y.split(size), strict=True)
    return torch.cat([again(rows, key, value, table, (at, x), key_points) for rows, at in parts], dim=1)


def _pairs(query: Tensor, key: Tensor) -> int:
    """Pairs of query (B, H, W, h, d) and key (B, N, h, d)."""
    return math.prod(query.shape[:-1]) * key.shape[1]  # not numel, which export takes for a constant


def _attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    bias = position_bias(table, query_points, key_points).to(query.dtype)  # (B, h, M, N)
    return _over_maps(attention, query, key, value, bias)


def _attend_in_place(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor:
    return _over_maps(attend_over, query, key, value, deformable_bias(table, query_points, key_points))


def _over_maps(attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """(B, H, W, h, d), and keys and values (B, N, h, d), for what takes (B, h, ..., d)."""
    queries, keys, values = (x.transpose(1, 2) for x in (query.flatten(1, 2), key, value))
    return attend(queries, keys, values, bias).transpose(1, 2).reshape(query.shape)


def _attention_in_cache(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor
) -> Tensor:
    """The bias and what is added to it stay in the processor's cache."""
    return _in_parts(_attend_in_place, SCORES, query, key, value, table, (y, x), key_points)


_attention_in_graph = torch.library.custom_op(
    "dat_cli::deformable_attention",
    _attention_in_cache,
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor table, Tensor y, Tensor x, Tensor key_points) -> Tensor",
)


@_attention_in_graph.register_fake
def _attended(query: Tensor, *_: Tensor) -> Tensor:
    return query.new_empty(query.shape)
