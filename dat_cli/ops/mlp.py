"""Two linear layers with a GELU between them, in the fastest way that the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import onednn
from dat_cli.ops.circumstances import is_plain_inference, is_plain_training
from dat_cli.ops.linear import gradient_of_weight, linear, linear_gelu
from dat_cli.ops.parts import PART, by_parts, parts_of_rows
from dat_cli.ops.recompute import derived_again


def mlp(x: Tensor, up: Tensor, up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None) -> Tensor:
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
    if is_plain_training(*inputs) and onednn.suits(x, up, up_bias, training=True):
        return cast("Tensor", _Mlp.apply(*inputs))

    def compute(x: Tensor) -> Tensor:
        return linear(linear_gelu(x, up, up_bias), down, down_bias)

    parts = parts_of_rows(x, len(up)) if is_plain_inference(*inputs) else 1
    if parts == 1:
        return compute(x)
    return by_parts(compute, x.reshape(-1, x.shape[-1]), parts).view(*x.shape[:-1], len(down))


class _Mlp(torch.autograd.Function):
    """In parts of rows. The backward makes the GELU again: of the hidden map, the largest, one is kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        ctx.parts = max(1, len(rows) * len(up) // PART)
        out = x.new_empty(*x.shape[:-1], len(down))
        hidden = []
        for part, into in _together(ctx.parts, rows, out.view(-1, len(down))):
            hidden.append(onednn.linear(part, up, up_bias, training=True))
            into.copy_(onednn.linear(F.gelu(hidden[-1]), down, down_bias, training=True))
        ctx.save_for_backward(x, up, up_bias, down, down_bias, *hidden)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, up, up_bias, down, down_bias, *hidden = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():  # somebody derives this, too
            inputs = (x, up, up_bias, down, down_bias)
            return derived_again(linear(F.gelu(linear(x, up, up_bias)), down, down_bias), inputs, gradient)
        rows, gradient = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        wanted = ctx.needs_input_grad
        to_rows = []
        sums: tuple[Tensor | None, ...] = (None,) * 4
        for (part, to_out), before in zip(_together(ctx.parts, rows, gradient), hidden, strict=True):
            to_hidden = torch.ops.aten.gelu_backward(onednn.linear(to_out, down.t(), None, training=True), before)
            if wanted[0]:
                to_rows.append(onednn.linear(to_hidden, up.t(), None, training=True))
            of_layers = (
                gradient_of_weight(to_hidden, part) if wanted[1] else None,
                to_hidden.sum(dim=0) if wanted[2] else None,
                gradient_of_weight(to_out, F.gelu(before)) if wanted[3] else None,
                to_out.sum(dim=0) if wanted[4] else None,
            )
            sums = tuple(map(_sum, sums, of_layers))
        return torch.cat(to_rows).view(x.shape) if wanted[0] else None, *sums


def _sum(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    return part if total is None or part is None else total + part


def _together(parts: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(each.tensor_split(parts) for each in tensors), strict=True)
