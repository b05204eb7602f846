"""Depthwise convolution of (B, H, W, C) maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolve each channel with its own filter.

    Args:
        x: (B, H, W, C).
        weight: (C, 1, K, K).
        bias: (C,) or None.
        stride: Step in both directions.
        padding: Zeros around the map.

    Returns:
        (B, H', W', C).
    """
    if x.dtype == torch.float64 and x.device.type == "cpu":
        # The CPU has no kernel for it: torch loops over the channels, two hundred times slower than this.
        return depthwise_conv_reference(x, weight, bias, stride, padding)
    x = x.permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias, stride, padding, groups=x.shape[1]).permute(0, 2, 3, 1)


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
