"""softmax(query key^T / sqrt(d) + bias) value, in the fastest way that the machine has."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.circumstances import is_exported, is_transformed
from dat_cli.ops.mkl import is_at_its_best
from dat_cli.ops.setting import is_reference

SCORES = 2**18
"""Scores that ``attend_over`` is best given on a CPU for each thread: 1 MiB, which stays in its cache between steps."""


_COMPILED = 2**24  # scores, 64 MiB


def is_left_to_compiler(*sizes: int) -> bool:
    """Whether a compiler at its best does better than operators of our own; more it would have in memory at once.

    Args:
        sizes: Of the scores.
    """
    return is_at_its_best() and math.prod(sizes) <= _COMPILED


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend with a bias.

    Args:
        query: (B, h, M, d).
        key: (B, h, N, d).
        value: (B, h, N, d).
        bias: (B or 1, h, M, N) in the queries' type; -inf for pairs that are kept apart, but not for a whole row.

    Returns:
        (B, h, M, d).
    """
    derived = torch.is_grad_enabled() or is_transformed()
    if is_reference() or (query.is_cpu and derived and not is_exported()):
        # On CPUs torch has no fused backward. What it does instead looks for rows without keys, pass after pass.
        return attention_reference(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def attention_reference(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The same, as it is written."""
    return attention_weights(query, key, bias) @ value


def attention_weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias): (..., M, N)."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores + bias).softmax(dim=-1)


def attend_over(query: Tensor, key: Tensor, value: Tensor, scores: Tensor, out: Tensor) -> None:
    """The same without gradients, in the memory of the bias, which is lost.

    On CPUs torch's own way takes 32 queries at a time and pays off with many keys only.

    Args:
        query: (n, M, d).
        key: (n, N, d).
        value: (n, N, d).
        scores: (n, M, N), the bias, contiguous.
        out: (n, M, d), contiguous: where the result goes.
    """
    torch.baddbmm(scores, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5, out=scores)
    torch.softmax(scores, dim=-1, out=scores)
    torch.bmm(scores, value, out=out)


def attend_each(query: Tensor, key: Tensor, value: Tensor, scores: Iterable[Tensor]) -> Tensor:
    """The same for one of a batch after another.

    Args:
        query: (B, n, M, d).
        key: (B, n, N, d).
        value: (B, n, N, d).
        scores: Of each, (n, M, N).

    Returns:
        (B, n, M, d).
    """
    attended = value.new_empty(query.shape)
    for each in zip(query.unbind(), key.unbind(), value.unbind(), scores, attended.unbind(), strict=True):
        attend_over(*each)
    return attended
