"""Depthwise convolution of (B, H, W, C) maps, with what often follows it."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import onednn
from dat_cli.ops.circumstances import is_compiled, is_on_gpu
from dat_cli.ops.setting import is_reference

# Up to this size the compiler makes one pass of a filter's cells and of all that stands around the convolution.
_UNROLLED = 3


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve each channel with its own filter.

    Args:
        x: (B, H, W, G C), groups of channels with the same filters.
        weight: (C, 1, K, K).
        bias: (C,) or None.
        stride: Step in both directions.
        padding: Zeros around the map.

    Returns:
        (B, H', W', G C).
    """
    groups = x.shape[-1] // len(weight)
    if onednn.suits(x, weight, bias):
        return onednn.depthwise(x, weight, bias, stride, padding, groups=groups)
    weight = onednn.all_filters(weight, groups)
    bias = bias if bias is None or groups == 1 else bias.repeat(groups)
    kernel = weight.shape[-1]
    same = stride == 1 and 2 * padding == kernel - 1
    if same and kernel <= _UNROLLED and is_compiled() and is_on_gpu(x) and not is_reference():
        return unrolled_conv(_as_convolved(x), weight, bias)
    if x.dtype == torch.float64 and x.device.type == "cpu":
        # The CPU has no float64 kernel: torch loops over the channels, two hundred times slower than this.
        return depthwise_conv_reference(x, weight, bias, stride, padding)
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, padding, groups=len(weight)).permute(0, 2, 3, 1)


def add_depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """``x`` plus its convolution with a filter of odd size K, stride 1: (B, H, W, C) -> (B, H, W, C).

    Args:
        x: (B, H, W, C).
        weight: (C, 1, K, K).
        bias: (C,) or None.
        gelu: Apply a GELU to the sum.
    """
    padding = int(weight.shape[-1]) // 2  # a tensor where torch 2.6 traces
    if onednn.suits(x, weight, bias):
        # The sum is itself a convolution, whose filter has one more in its centre: one pass instead of three.
        return onednn.depthwise(x, weight, bias, 1, padding, centre=1.0, gelu=gelu)
    x = x + depthwise_conv(x, weight, bias, padding=padding)
    return F.gelu(x) if gelu else x


def depthwise_conv_reference(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """The same, as a sum over the filter's K x K cells."""
    kernel = weight.shape[-1]
    x = F.pad(x, (0, 0, padding, padding, padding, padding))
    rows, columns = ((size - kernel) // stride + 1 for size in x.shape[1:3])
    total = x.new_zeros(()) if bias is None else bias
    for i in range(kernel):
        for j in range(kernel):
            seen = x[:, i : i + rows * stride : stride, j : j + columns * stride : stride][:, :rows, :columns]
            total = total + seen * weight[:, 0, i, j]
    return total


def unrolled_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same for a filter of odd size K and stride 1, (B, H, W, C) -> (B, H, W, C), with a backward of such sums."""
    return cast("Tensor", _Unrolled.apply(x, weight, bias))


def _as_convolved(x: Tensor) -> Tensor:
    """In the type that a convolution takes it in under autocast, which for the backward keeps half as much."""
    lower = x.dtype != torch.float64 and torch.is_autocast_enabled(x.device.type)
    return x.to(torch.get_autocast_dtype(x.device.type)) if lower else x


class _Unrolled(torch.autograd.Function):
    """Derived by the compiler itself, each cell of the filter would write a map of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return depthwise_conv_reference(x, weight, bias, 1, weight.shape[-1] // 2).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        padding = kernel // 2
        gradient = gradients[0].contiguous()
        # To the compiler this says that the gradient is to be written, and not computed again for each use of it.
        gradient = gradient.as_strided(gradient.shape, gradient.stride())
        to_x = depthwise_conv_reference(gradient, weight.flip(2, 3), None, 1, padding).to(x.dtype)
        # Moved against each other, and what is padded is the gradient: a padded input would be kept from the forward.
        around = F.pad(gradient, (0, 0, padding, padding, padding, padding))
        moved = around.unfold(1, kernel, 1).unfold(2, kernel, 1).permute(0, 1, 2, 4, 5, 3)  # (B, H, W, K, K, C)
        to_weight = (x[:, :, :, None, None] * moved).sum(dim=(0, 1, 2), dtype=weight.dtype).flip(0, 1)  # (K, K, C)
        to_bias = gradient.sum(dim=(0, 1, 2), dtype=weight.dtype) if ctx.needs_input_grad[2] else None
        return to_x, to_weight.permute(2, 0, 1)[:, None], to_bias
