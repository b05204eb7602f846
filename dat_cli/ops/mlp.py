"""Two linear layers with a GELU between them, in the fastest way that the machine has."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import onednn
from dat_cli.ops.circumstances import is_plain_inference, is_plain_training
from dat_cli.ops.linear import gradient_of_weight, linear, linear_gelu
from dat_cli.ops.parts import PART, part_of_rows
from dat_cli.ops.recompute import derived_again


def mlp(x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
    """GELU(x up^T + up_bias) down^T + down_bias.

    Args:
        x: (..., C).
        up: (D, C).
        up_bias: (D,).
        down: (C', D).
        down_bias: (C',).

    Returns:
        (..., C').
    """
    inputs = (x, up, up_bias, down, down_bias)
    if is_plain_training(*inputs) and onednn.suits(x, up, down, training=True):
        return cast("Tensor", _Mlp.apply(*inputs))
    size = part_of_rows(x, len(up)) if is_plain_inference(*inputs) else None
    if size is None:
        return linear(linear_gelu(x, up, up_bias), down, down_bias)
    parts = x.reshape(-1, x.shape[-1]).split(size)
    out = torch.cat([linear(linear_gelu(part, up, up_bias), down, down_bias) for part in parts])
    return out.view(*x.shape[:-1], len(down))


class _Mlp(torch.autograd.Function):
    """The backward makes the GELU again: of the hidden map, four times as large as others, one is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.size = -(-len(rows) // max(1, round(len(rows) * len(up) / PART))) or 1
        out = rows.new_empty(len(rows), len(down))
        hidden = []
        for part, into in zip(rows.split(ctx.size), out.split(ctx.size), strict=True):
            hidden.append(onednn.linear(part, up, up_bias, training=True))
            into.copy_(onednn.linear(F.gelu(hidden[-1]), down, down_bias, training=True))
        ctx.save_for_backward(x, up, up_bias, down, down_bias, *hidden)
        return out.view(*x.shape[:-1], len(down))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, up, up_bias, down, down_bias, *hidden = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():  # somebody derives this, too
            inputs = (x, up, up_bias, down, down_bias)
            return derived_again(linear(F.gelu(linear(x, up, up_bias)), down, down_bias), inputs, gradient)
        rows, gradient = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        to_x = torch.empty_like(rows)
        sums: list[Tensor | None] = [None] * 4
        parts = (each.split(ctx.size) for each in (rows, gradient, to_x))
        for part, to_out, into, before in zip(*parts, hidden, strict=True):
            to_hidden = onednn.linear(to_out, down.t(), None, training=True)
            torch.ops.aten.gelu_backward.grad_input(to_hidden, before, grad_input=to_hidden)
            into.copy_(onednn.linear(to_hidden, up.t(), None, training=True))
            of_part = (
                gradient_of_weight(to_hidden, part),
                to_hidden.sum(dim=0),
                gradient_of_weight(to_out, F.gelu(before)),
                to_out.sum(dim=0),
            )
            sums = [each if total is None else total.add_(each) for total, each in zip(sums, of_part, strict=True)]
        return to_x.view(x.shape), *sums
