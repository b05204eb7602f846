"""Attention inside patches of a map, whose bias is the same for all patches of a kind."""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.ops.attention import SCORES, attend_each, attend_over, attention, is_left_to_compiler
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
    scores = (*query.shape[:-1], key.shape[3])
    if is_plain_inference(query, key, value, bias) and not is_left_to_compiler(*scores):
        in_cache = _attention_in_graph if torch.compiler.is_compiling() else _attention_in_cache
        return in_cache(query, key, value, bias, kinds)
    bias = bias.to(query.dtype)
    batch, number, heads = query.shape[:3]
    if len(bias) > 1:
        bias = bias.index_select(0, kinds)  # (n, h, M, N)
        # Images share it if patches count as heads. On a CPU that is not worth a copy of queries, keys and values, but
        # a compiler would keep the bias of all images.
        copied = query.is_cpu and not query.is_contiguous() and not is_left_to_compiler(*scores)
        if number * heads <= _HEADS and not copied:
            query, key, value = (x.flatten(1, 2) for x in (query, key, value))
            return attention(query, key, value, bias.flatten(0, 1)[None]).unflatten(1, (number, heads))
        bias = bias.repeat(batch, 1, 1, 1)
    query, key, value = (x.flatten(0, 1) for x in (query, key, value))
    return attention(query, key, value, bias).unflatten(0, (batch, number))


def _attention_in_cache(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, kinds: Tensor) -> Tensor:
    """A patch at a time, or a head of some patches, whichever is less often."""
    batch, number, heads, queries, _ = query.shape
    patches = batch * number
    query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
    if patches <= heads:
        scores = (bias[kind].clone() for kind in batch * kinds.tolist())
        return attend_each(query, key, value, scores).unflatten(0, (batch, number))
    kinds = kinds.repeat(batch) if batch > 1 else kinds
    attended = value.new_empty(heads, patches, queries, value.shape[-1])
    parts = -(-patches * queries * key.shape[2] // (SCORES * torch.get_num_threads()))
    size = -(-patches // max(1, parts))
    by_head = (x.unbind(1) for x in (query, key, value, bias))
    for *of_head, by_kind, into in zip(*by_head, attended, strict=True):
        cut = (x.split(size) for x in (*of_head, kinds, into))
        for q, k, v, kind, out in zip(*cut, strict=True):
            attend_over(q, k, v, by_kind.index_select(0, kind), out)
    return attended.transpose(0, 1).unflatten(0, (batch, number))


def map_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend from all positions of each map to all, with the same bias.

    Args:
        query: (B, h, M, d).
        key: (B, h, N, d).
        value: (B, h, N, d).
        bias: (1, h, M, N); -inf for pairs that are kept apart, but not for a whole row.

    Returns:
        (B, h, M, d).
    """
    batch, heads = query.shape[:2]
    if not is_plain_inference(query, key, value, bias) or torch.compiler.is_compiling():
        return attention(query, key, value, bias.to(query.dtype))
    if batch <= heads:
        return attend_each(query, key, value, (bias[0].clone() for _ in range(batch)))
    kinds = torch.zeros(1, dtype=torch.long)
    return _attention_in_cache(query[:, None], key[:, None], value[:, None], bias, kinds)[:, 0]


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
