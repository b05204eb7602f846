"""Attention without gradients, in parts whose scores stay in a CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from dat_cli.ops.mkl import is_at_its_best

SCORES = 2**18
"""Scores that ``attend_over`` is best given on a CPU for each thread: 1 MiB, which stays in its cache between steps."""

_COMPILED = 2**24  # scores, 64 MiB


def is_left_to_compiler(*sizes: int) -> bool:
    """Whether a compiler at its best does better than operators of our own; more it would have in memory at once.

    Args:
        sizes: Of the scores.
    """
    return is_at_its_best() and math.prod(sizes) <= _COMPILED


def attend_over(query: Tensor, key: Tensor, value: Tensor, scores: Tensor, out: Tensor) -> None:
    """softmax(query key^T / sqrt(d) + bias) value, in the memory of the bias, which is lost.

    Torch's own way on CPUs takes 32 queries at a time and pays off with many keys only.

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
