"""What Intel's oneDNN does on x86 processors in one pass: a product or a convolution, then the GELU.

These functions of torch are those that torch.compile calls. They have no backward.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

from dat_cli.ops.circumstances import are_plain, is_exported, is_transformed, wants_gradients
from dat_cli.ops.kept import kept_of_constant
from dat_cli.ops.setting import is_reference

_IS_HERE = (
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.mkldnn.is_available()
    and all(hasattr(torch.ops.mkldnn, f"_{name}") for name in ("linear_pointwise", "reorder_linear_weight"))
    and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
)


def suits(x: Tensor, weight: Tensor, bias: Tensor | None, *, training: bool = False) -> bool:
    """Whether these functions may be used: float32 on the CPU, and nothing that asks for gradients.

    Args:
        x: What is multiplied.
        weight: By what.
        bias: Added.
        training: Whether the caller has a backward; gradients may be asked for then.
    """
    if not _IS_HERE or is_reference() or not are_plain(x, weight, bias) or torch.is_autocast_enabled("cpu"):
        return False
    if is_exported() or is_transformed():
        return False
    if torch.compiler.is_compiling():
        return not wants_gradients(x, weight, bias)  # the compiler derives what it compiles itself
    return torch._C._get_mkldnn_enabled() and (training or not wants_gradients(x, weight, bias))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False, training: bool = False) -> Tensor:
    """The product x weight^T + bias, and its GELU if wanted: (..., C) -> (..., C')."""
    if training:
        return _multiply(x, weight, bias, gelu=gelu)
    return (_linear_in_graph if torch.compiler.is_compiling() else _linear)(x, weight, bias, gelu)


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, *, gelu: bool = False
) -> Tensor:
    """A depthwise convolution, and its GELU if wanted: (B, C, H, W) -> (B, C, H', W').

    Args:
        x: The maps.
        weight: (C, 1, K, K), or what ``in_blocks`` made of it.
        bias: (C,) or None.
        stride: Step in both directions.
        padding: Zeros around the map.
        gelu: Whether it is wanted.
    """
    around = ([padding] * 2, [stride] * 2, [1, 1], x.shape[1])
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *around, "gelu" if gelu else "none", [], "none")


def in_blocks(weight: Tensor) -> Tensor:
    """The filters of a depthwise convolution as oneDNN wants them: else it would rearrange them in each call."""
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), [0, 0], [1, 1], [1, 1], len(weight))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    return _multiply(x, kept_of_constant(torch.ops.mkldnn._reorder_linear_weight, weight), bias, gelu=gelu)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")


# The compiler takes the function itself for constant weights alone, which those of a network are not to it.
_linear_in_graph = torch.library.custom_op(
    "dat_cli::linear", _linear, mutates_args=(), schema="(Tensor x, Tensor weight, Tensor? bias, bool gelu) -> Tensor"
)


@_linear_in_graph.register_fake
def _product(x: Tensor, weight: Tensor, _bias: Tensor | None, _gelu: bool) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])
