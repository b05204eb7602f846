"""What Intel's oneDNN does on x86 processors in one pass: a product or a convolution, then the GELU.

These functions of torch are those that torch.compile calls. They have no backward.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops import mkl
from dat_cli.ops.circumstances import (
    are_plain,
    is_exported,
    is_traced_or_transformed,
    wants_gradients,
)
from dat_cli.ops.kept import kept_by_table, kept_of_constant
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
    if torch.compiler.is_compiling():  # the compiler derives what it compiles itself
        if not weight.numel() or is_exported() or wants_gradients(x, weight, bias):
            return False
        return not mkl.is_left_to_compiler(x, weight)
    if not weight.numel() or is_traced_or_transformed():
        return False
    return torch._C._get_mkldnn_enabled() and (training or not wants_gradients(x, weight, bias))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False, training: bool = False) -> Tensor:
    """The product x weight^T + bias, and its GELU if wanted: (..., C) -> (..., C')."""
    if training:
        return _multiply(x, weight, bias, gelu=gelu)
    return (_linear_in_graph if torch.compiler.is_compiling() else _linear)(x, weight, bias, gelu)


def linear_onto(onto: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The sum onto + x weight^T in one pass, not in a graph: (R, C'), (R, C), (C', C) -> (R, C')."""
    return torch.ops.mkldnn._linear_pointwise.binary(x, onto, weight, None, "add")


def depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    *,
    groups: int = 1,
    centre: float = 0.0,
    gelu: bool = False,
) -> Tensor:
    """A depthwise convolution, and its GELU if wanted: (B, H, W, G C) -> (B, H', W', G C).

    Args:
        x: The maps.
        weight: (C, 1, K, K).
        bias: (C,) or None.
        stride: Step in both directions.
        padding: Zeros around the map.
        groups: G, groups of channels with the same filters.
        centre: Added to the centre of each filter.
        gelu: Whether it is wanted.
    """
    convolve = _depthwise_in_graph if torch.compiler.is_compiling() else _depthwise
    return convolve(x, weight, bias, stride, padding, groups, centre, gelu)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """A convolution that gives its channels last in memory, however they were: (B, C, H, W) -> (B, C', H', W').

    Args:
        x: The maps.
        weight: (C', C, K, K).
        bias: (C',) or None.
        stride: Step in both directions.
        padding: Zeros around the map.
    """
    convolve = _convolution_in_graph if torch.compiler.is_compiling() else _convolution
    return convolve(x, weight, bias, stride, padding)


def all_filters(weight: Tensor, groups: int, centre: float = 0.0) -> Tensor:
    """Those of all channels, with so much added to their centres: (C, 1, K, K) -> (G C, 1, K, K)."""
    if centre:
        weight = weight + F.pad(weight.new_full((1, 1), centre), [weight.shape[-1] // 2] * 4)
    return torch.cat([weight] * groups) if groups > 1 else weight


def _depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int, centre: float, gelu: bool
) -> Tensor:
    filters = kept_by_table(_in_blocks, weight, groups, centre, beside=x)
    bias = torch.cat([bias] * groups) if groups > 1 and bias is not None else bias
    maps = x.permute(0, 3, 1, 2)
    return _convolve(maps, filters, bias, stride, padding, x.shape[-1], gelu=gelu).permute(0, 2, 3, 1)


def _in_blocks(weight: Tensor, groups: int, centre: float) -> Tensor:
    """The filters as oneDNN wants them: else it would rearrange them in each call."""
    weight = all_filters(weight, groups, centre)
    return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), [0, 0], [1, 1], [1, 1], len(weight))


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    filters = kept_of_constant(_for_maps, weight, stride, padding, x.shape[2], x.shape[3])
    if filters is weight:  # then the layout of the result is that of the maps
        x = x.contiguous(memory_format=torch.channels_last)
    return _convolve(x, filters, bias, stride, padding, 1)


def _convolve(
    x: Tensor, filters: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int, *, gelu: bool = False
) -> Tensor:
    around = ([padding] * 2, [stride] * 2, [1, 1], groups, "gelu" if gelu else "none")
    return torch.ops.mkldnn._convolution_pointwise(x, filters, bias, *around, [], "none")


def _for_maps(weight: Tensor, stride: int, padding: int, height: int, width: int) -> Tensor:
    """The filters as oneDNN wants them for one map of this size; they served more of them as well."""
    reorder = torch.ops.aten.mkldnn_reorder_conv2d_weight  # torch._C._nn has it, too, but not all of it in its types
    size = [1, weight.shape[1], height, width]
    return reorder(weight.to_mkldnn(), [padding] * 2, [stride] * 2, [1, 1], 1, size)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    product = mkl.linear(x, weight, bias)
    if product is not None:
        return F.gelu(product) if gelu else product
    return _multiply(x, kept_of_constant(torch.ops.mkldnn._reorder_linear_weight, weight, most=1), bias, gelu=gelu)


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else "")


# The compiler takes the function itself for constant weights alone, which those of a network are not to it.
_linear_in_graph = torch.library.custom_op(
    "dat_cli::linear", _linear, mutates_args=(), schema="(Tensor x, Tensor weight, Tensor? bias, bool gelu) -> Tensor"
)


@_linear_in_graph.register_fake
def _product(x: Tensor, weight: Tensor, _bias: Tensor | None, _gelu: bool) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


# The compiler may give a single image a stride in which oneDNN does not see that its channels are last.
_depthwise_in_graph = torch.library.custom_op(
    "dat_cli::depthwise",
    lambda *arguments: _depthwise(*arguments).contiguous(),
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor? bias, int stride, int padding, int groups, float centre, bool gelu)"
    " -> Tensor",
)
_convolution_in_graph = torch.library.custom_op(
    "dat_cli::convolution",
    lambda *arguments: _convolution(*arguments).contiguous(memory_format=torch.channels_last),
    mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor? bias, int stride, int padding) -> Tensor",
)


@_depthwise_in_graph.register_fake
def _convolved_alone(x: Tensor, weight: Tensor, _bias: Tensor | None, stride: int, padding: int, *_: object) -> Tensor:
    height, width = (_size_after(size, weight, stride, padding) for size in x.shape[1:3])
    return x.new_empty(x.shape[0], height, width, x.shape[3])


@_convolution_in_graph.register_fake
def _convolved(x: Tensor, weight: Tensor, _bias: Tensor | None, stride: int, padding: int) -> Tensor:
    height, width = (_size_after(size, weight, stride, padding) for size in x.shape[2:])
    maps = x.new_empty(x.shape[0], weight.shape[0], height, width)
    return maps.contiguous(memory_format=torch.channels_last)


def _size_after(size: int, weight: Tensor, stride: int, padding: int) -> int:
    return (size + 2 * padding - weight.shape[-1]) // stride + 1
