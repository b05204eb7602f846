"""Attention inside patches of a map, whose bias is the same for all patches of a kind."""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.ops.attention import SCORES, attend_over, attention
from dat_cli.ops.circumstances import is_plain_inference


def patch_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor) -> Tensor:
    """Attend from the queries of each patch to its keys.

    Args:
        query: (B, n, h, M, d).
        key: (B, n, h, N, d).
        value: (B, n, h, N, d).
        bias: (K, h, M, N), by kind of patch; -inf for pairs that are kept apart, but not for a whole row.
        kinds: (n,), the kind of each patch, below K.

    Returns:
        (B, n, h, M, d).
    """
    if is_plain_inference(query, key, value, bias):
        in_cache = _attention_in_graph if torch.compiler.is_compiling() else _attention_in_cache
        return in_cache(query, key, value, bias, kinds)
    bias = bias.to(query.dtype)
    patches = query.shape[:2]
    if len(bias) == 1:
        attended = attention(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias)
        return attended.unflatten(0, patches)
    # Images share the patches' bias, which patches as heads spare a copy for each image.
    heads = query.shape[1:3]
    bias = bias.index_select(0, kinds).flatten(0, 1)[None]
    return attention(query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2), bias).unflatten(1, heads)


def _attention_in_cache(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor) -> Tensor:
    """Some patches at a time."""
    patches = query.shape[:2]
    size = max(1, SCORES // max(1, bias[0].numel()))
    parts = (
        x.split(size) for x in (query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), kinds.repeat(patches[0]))
    )
    attended = [
        attend_over(query, key, value, bias.index_select(0, kind))
        for query, key, value, kind in zip(*parts, strict=True)
    ]
    return torch.cat(attended).unflatten(0, patches)


# What is compiled would have memory of its own for each step.
_attention_in_graph = torch.library.custom_op(
    "dat_cli::patch_attention",
    _attention_in_cache,
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor bias, Tensor kinds) -> Tensor",
)


@_attention_in_graph.register_fake
def _attended(query: Tensor, _key: Tensor, value: Tensor, _bias: Tensor, _kinds: Tensor) -> Tensor:
    return value.new_empty(*query.shape[:-1], value.shape[-1])
