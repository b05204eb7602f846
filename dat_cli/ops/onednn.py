"""What Intel's oneDNN does for inference on x86 processors in one pass: a product or a convolution, then the GELU.

torch.compile calls the same functions of torch. They have no backward.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

from dat_cli.ops.setting import is_reference

_linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_convolution = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
_IS_HERE = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and _linear is not None
    and _convolution is not None
)


def suits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether these functions may be used: float32 on the CPU, and nothing that asks for gradients."""
    if not _IS_HERE or x.device.type != "cpu" or is_reference():
        return False
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # the file may be for another machine
        return False
    given = (x, weight) if bias is None else (x, weight, bias)
    if any(each.dtype != torch.float32 for each in given) or torch.is_autocast_enabled("cpu"):
        return False
    return not (torch.is_grad_enabled() and any(each.requires_grad for each in given))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """The product x weight^T + bias, and its GELU if wanted: (..., C) -> (..., C')."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")


def convolution_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int) -> Tensor:
    """The GELU of a convolution: (B, C, H, W) -> (B, C', H', W')."""
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], groups, "gelu", [], "none"
    )
