"""Attention inside patches of a map, whose bias is the same for all patches of a kind."""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.ops.attention import SCORES, attend_over, attention
from dat_cli.ops.circumstances import is_plain_inference

_HEADS = 2**16 - 1  # that a GPU's attention takes


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
    batch, number, heads = query.shape[:3]
    if len(bias) > 1:
        bias = bias.index_select(0, kinds)  # (n, h, M, N)
        # Images share it if patches count as heads. On a CPU that is not worth a copy of queries, keys and values.
        if number * heads <= _HEADS and (query.is_contiguous() or not query.is_cpu):
            query, key, value = (x.flatten(1, 2) for x in (query, key, value))
            return attention(query, key, value, bias.flatten(0, 1)[None]).unflatten(1, (number, heads))
        bias = bias.repeat(batch, 1, 1, 1)
    query, key, value = (x.flatten(0, 1) for x in (query, key, value))
    return attention(query, key, value, bias).unflatten(0, (batch, number))


def _attention_in_cache(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor) -> Tensor:
    """Some patches at a time."""
    patches = query.shape[:2]
    size = max(1, SCORES // max(1, bias[0].numel()))
    of_all = (query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), kinds.repeat(len(query)))
    parts = zip(*(x.split(size) for x in of_all), strict=True)
    attended = [_attend_to_part(queries, keys, values, bias, kind) for queries, keys, values, kind in parts]
    return (attended[0] if len(attended) == 1 else torch.cat(attended)).unflatten(0, patches)


def _attend_to_part(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor) -> Tensor:
    """(n, h, M, d), by patches or by heads, whichever are fewer."""
    if query.shape[0] <= query.shape[1]:
        return attend_over(query, key, value, bias.index_select(0, kinds))
    query, key, value, bias = (x.transpose(0, 1) for x in (query, key, value, bias))
    return attend_over(query, key, value, bias.index_select(1, kinds)).transpose(0, 1)


# What is compiled would have memory of its own for each step.
_attention_in_graph = torch.library.custom_op(
    "dat_cli::patch_attention",
    lambda *arguments: _attention_in_cache(*arguments).contiguous(),
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor bias, Tensor kinds) -> Tensor",
)


@_attention_in_graph.register_fake
def _attended(query: Tensor, _key: Tensor, value: Tensor, _bias: Tensor, _kinds: Tensor) -> Tensor:
    return value.new_empty(*query.shape[:-1], value.shape[-1])
