"""Convolution that mixes channels, in the fastest way that the machine has."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import onednn


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve maps.

    Args:
        x: (B, C, H, W).
        weight: (C', C, K, K).
        bias: (C',) or None.
        stride: Step in both directions.
        padding: Zeros around the map.

    Returns:
        (B, C', H', W').
    """
    if onednn.suits(x, weight, bias):
        return onednn.convolution(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)
