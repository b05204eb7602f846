"""How many multiply-accumulates an image costs, from the specification alone: nothing here imports torch.

What is counted is what published figures count: linear layers, convolutions and the two products of attention, with
the K^2 keys of a neighbourhood. Norms, softmax and bilinear sampling are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dat_cli.catalog import Variant

_EXPANSION = 4
"""Hidden channels of an MLP for each channel."""


def count_macs(
    variant: Variant, *, height: int, width: int, num_classes: int, in_chans: int = 3, window: int | None = None
) -> dict[str, int]:
    """Multiply-accumulates of one image, by the parts of the network.

    Args:
        variant: What the network is made of.
        height: Pixels of the image, at least 32.
        width: The same.
        num_classes: Outputs; 0 for none.
        in_chans: Channels of the image.
        window: Size of attention windows, or the kernel of neighbourhood attention; None for the variant's.

    Returns:
        The counts of ``stem``, ``stages.0`` to ``stages.3`` and ``head``, in this order.
    """
    if window is not None:
        variant = replace(variant, window=window)
    (height, width), stem = _stem(variant, height, width, in_chans)
    parts = {"stem": stem}
    for index, dim in enumerate(variant.dims):
        macs = 0
        if index:
            kernel = 3 if variant.convolutions else 2
            height, width = (_strided(side, kernel, 2, int(variant.convolutions)) for side in (height, width))
            macs = height * width * kernel**2 * variant.dims[index - 1] * dim
        for kind in variant.blocks[index]:
            macs += _ATTENTION[kind](variant, index, height, width) + _around_attention(variant, dim, height * width)
        parts[f"stages.{index}"] = macs
    return {**parts, "head": variant.dims[-1] * num_classes}


def _stem(variant: Variant, height: int, width: int, in_chans: int) -> tuple[tuple[int, int], int]:
    """(height, width) of the first stage's map, and what it costs."""
    dim = variant.dims[0]
    if not variant.convolutions:
        return (height // 4, width // 4), (height // 4) * (width // 4) * 4 * 4 * in_chans * dim
    height, width = (_strided(side, 3, 2, 1) for side in (height, width))
    macs = height * width * 3 * 3 * in_chans * (dim // 2)
    height, width = (_strided(side, 3, 2, 1) for side in (height, width))
    return (height, width), macs + height * width * 3 * 3 * (dim // 2) * dim


def _around_attention(variant: Variant, dim: int, positions: int) -> int:
    """The MLP of a block, and the convolutions of DAT++."""
    mlp = 2 * _EXPANSION * dim**2
    convolutions = 3 * 3 * (1 + _EXPANSION) * dim if variant.convolutions else 0
    return positions * (mlp + convolutions)


def _window(variant: Variant, index: int, height: int, width: int) -> int:
    size, dim = variant.window, variant.dims[index]
    attended = (height + -height % size) * (width + -width % size)  # padding costs no projection, but attention
    return height * width * 4 * dim**2 + 2 * attended * size**2 * dim


def _neighborhood(variant: Variant, index: int, height: int, width: int) -> int:
    size, dim = variant.window, variant.dims[index]
    attended = max(size, height) * max(size, width)
    return height * width * 4 * dim**2 + 2 * attended * size**2 * dim


def _deformable(variant: Variant, index: int, height: int, width: int) -> int:
    dim, kernel, stride = variant.dims[index], variant.offset_kernels[index], variant.strides[index]
    padding = 0 if variant.generation == "dat_pp" and kernel == stride else kernel // 2
    queries = height * width
    keys = _strided(height, kernel, stride, padding) * _strided(width, kernel, stride, padding)
    offsets = keys * (kernel**2 + 2) * dim
    return 2 * queries * keys * dim + 2 * (queries + keys) * dim**2 + offsets


def _strided(side: int, kernel: int, stride: int, padding: int) -> int:
    """One side of a map behind a convolution."""
    return (side + 2 * padding - kernel) // stride + 1


_ATTENTION: dict[str, Callable[[Variant, int, int, int], int]] = {
    "L": _window,
    "S": _window,
    "N": _neighborhood,
    "D": _deformable,
}
