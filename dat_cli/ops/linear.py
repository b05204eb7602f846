"""Linear layers over the last axis, in the fastest way that the machine has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import onednn
from dat_cli.ops.processor import is_of_amd_since_zen_5

_BY_ONEDNN = is_of_amd_since_zen_5()  # gradients of weights: on others MKL was as fast, or faster


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, training: bool = False) -> Tensor:
    """The product x weight^T + bias: (..., C) -> (..., C'); in training the weight is never taken for constant."""
    # oneDNN multiplies a tenth faster on AMD processors than what F.linear calls there, and as fast on Intel's.
    if onednn.suits(x, weight, bias):
        return onednn.linear(x, weight, bias, training=training)
    if onednn.suits(x, weight, bias, training=True):
        return _Linear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """GELU(x weight^T + bias): (..., C) -> (..., C')."""
    if onednn.suits(x, weight, bias):
        return onednn.linear(x, weight, bias, gelu=True)
    return F.gelu(linear(x, weight, bias))


def linear_in_full(x: Tensor, weight: Tensor) -> Tensor:
    """The product x weight^T in float32 or finer, whatever autocast says: (..., C) -> (..., C')."""
    if onednn.suits(x, weight, None):
        return onednn.linear(x, weight, None)
    exact = torch.promote_types(x.dtype, torch.float32)
    x, weight = x.to(exact), weight.to(exact)
    if torch.is_autocast_enabled("cpu" if x.is_meta else x.device.type):  # it would turn a linear layer back
        return (x.unsqueeze(-2) * weight).sum(dim=-1)
    return F.linear(x, weight)


def product_onto(onto: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The sum onto + x weight^T: (R, C'), (R, C), (C', C) -> (R, C')."""
    if onednn.suits(x, weight, onto):
        return onednn.linear_onto(onto, x, weight)
    return torch.addmm(onto, x, weight.t())


def gradient_of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """What the weight of a product is given back, of rows out and in: (R, C'), (R, C) -> (C', C)."""
    if not (_BY_ONEDNN and onednn.suits(gradient, x, None)):
        return gradient.t() @ x
    (rows, out), width = gradient.shape, x.shape[1]
    if rows * out > rows * width + width * out:  # oneDNN copies its left side, and a result is turned
        return onednn.linear(x.t(), gradient.t(), None, training=True).t().contiguous()
    return onednn.linear(gradient.t(), x.t(), None, training=True)


class _Linear(torch.autograd.Function):
    """The product by oneDNN, with a backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn.linear(x, weight, bias, training=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        to_x = linear(gradient, weight.t(), None, training=True) if ctx.needs_input_grad[0] else None
        rows = gradient.reshape(-1, gradient.shape[-1])
        to_weight = gradient_of_weight(rows, x.reshape(-1, x.shape[-1])) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, rows.sum(dim=0) if ctx.needs_input_grad[2] else None
