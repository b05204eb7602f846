"""softmax(query key^T / sqrt(d) + bias) value, in the fastest way that the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.attention_in_cache import SCORES
from dat_cli.ops.circumstances import is_exported, is_plain_training, is_transformed
from dat_cli.ops.recompute import derived_again
from dat_cli.ops.setting import is_reference


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend with a bias.

    Args:
        query: (B, ..., h, M, d).
        key: (B, ..., h, N, d).
        value: (B, ..., h, N, d).
        bias: (B or 1, ..., h, M, N) in the queries' type; -inf for pairs that are kept apart, but not for a whole row.

    Returns:
        (B, ..., h, M, d).
    """
    # On CPUs torch has no fused backward. What it does instead looks for rows without keys, pass after pass.
    if is_plain_training(query, key, value, bias):
        return cast("Tensor", _Attention.apply(query, key, value, bias))
    derived = torch.is_grad_enabled() or is_transformed()
    if is_reference() or (query.is_cpu and derived and not is_exported()):
        return attention_reference(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def attention_reference(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The same, as it is written."""
    return attention_weights(query, key, bias) @ value


def attention_weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias): (..., M, N)."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (scores + bias).softmax(dim=-1)


class _Attention(torch.autograd.Function):
    """Of each pair only the weight is kept. Some images at a time, whose scores stay in the cache between the steps."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        weights = query.new_empty(*query.shape[:-1], key.shape[-2])
        attended = query.new_empty(query.shape)
        biases = bias.expand(len(query), *bias.shape[1:])
        for scores, q, k, v, b, out in _by_images(weights, query, key, value, biases, attended):
            _multiply(q, k.mT, scores, _scale(query))
            torch.softmax(scores.add_(b), dim=-1, out=scores)
            _multiply(scores, v, out)
        ctx.save_for_backward(query, key, value, bias, weights)
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, weights = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():  # somebody derives this, too
            inputs = (query, key, value, bias)
            return derived_again(attention_reference(*inputs), inputs, gradient)
        found = tuple(x.new_empty(x.shape) for x in (query, key, value))
        shared = len(bias) != len(query)
        to_bias = bias.new_zeros(bias.shape) if shared else bias.new_empty(bias.shape)
        to_biases = to_bias.expand(len(query), *bias.shape[1:])
        for weight, q, k, v, g, to_b, to_q, to_k, to_v in _by_images(
            weights, query, key, value, gradient, to_biases, *found
        ):
            _multiply(weight.mT, g, to_v)
            scores = torch.empty_like(weight) if shared else to_b
            _multiply(g, v.mT, scores)
            torch._softmax_backward_data(scores, weight, -1, weight.dtype, grad_input=scores)
            _multiply(scores, k, to_q, _scale(query))
            _multiply(scores.mT, q, to_k, _scale(query))
            if shared:
                to_bias += scores.sum(dim=0, keepdim=True)
        return *found, to_bias


def _by_images(weights: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    size = max(1, SCORES * torch.get_num_threads() // max(1, weights.shape[1:].numel()))
    return zip(*(x.split(size) for x in (weights, *tensors)), strict=True)


def _multiply(left: Tensor, right: Tensor, out: Tensor, factor: float = 1.0) -> None:
    """``factor * left @ right``, of products one after another, written into memory that is contiguous."""
    left, right, out = (x.flatten(0, -3) for x in (left, right, out))
    torch.baddbmm(out, left, right, beta=0, alpha=factor, out=out)


def _scale(query: Tensor) -> float:
    return float(query.shape[-1] ** -0.5)
