"""What stands around the attentions: stem, downsampling, MLPs, local perception.

Feature maps are (B, H, W, C) everywhere inside the network, so that norms and linear layers need no change of layout;
convolutions see the same memory as a channels-last (B, C, H, W).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.errors import ModelError
from dat_cli.ops.circumstances import is_plain_inference
from dat_cli.ops.convolution import convolution
from dat_cli.ops.depthwise import add_depthwise_conv, depthwise_conv
from dat_cli.ops.linear import linear, linear_gelu
from dat_cli.ops.mlp import mlp
from dat_cli.ops.parts import by_parts, parts_of_images
from dat_cli.ops.recompute import recomputed_on_gpu


def convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution to a (B, H, W, C) map: (B, H', W', C')."""
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def project_padded(layer: nn.Linear, x: Tensor, below: int, right: int) -> Tensor:
    """``layer`` of a map padded with zeros, without multiplying the zeros: (B, H, W, C) -> (B, H + below, ..., C')."""
    product = layer(x)
    if not below and not right:
        return product
    padding = (0, 0, 0, right, 0, below)
    beyond = F.pad(product.new_zeros(1, *x.shape[1:3], 1), padding, value=1.0)
    return F.pad(product, padding) + beyond * layer.bias.to(product.dtype)


def head_dim(dim: int, heads: int) -> int:
    """Channels of each attention head.

    Raises:
        ModelError: The heads do not divide the channels.
    """
    if heads < 1 or dim % heads:
        raise ModelError(f"{heads} heads do not divide {dim} channels")
    return dim // heads


class Linear(nn.Linear):
    """A linear layer over the last axis, (..., C) -> (..., C'), in the fastest way that the machine has."""

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        return (linear_gelu if gelu else linear)(x, self.weight, self.bias)


class Conv(nn.Conv2d):
    """A convolution that mixes channels, (B, C, H, W) -> (B, C', H', W'), in the fastest way that the machine has."""

    def __init__(
        self, dim: int, out_dim: int, kernel: int, stride: int, padding: int = 0, *, bias: bool = True
    ) -> None:
        super().__init__(dim, out_dim, kernel, stride, padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolution(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


class DepthwiseConv(nn.Conv2d):
    """One filter for each channel, (B, H, W, G C) -> (B, H', W', G C); G groups of channels have the same filters."""

    def __init__(self, dim: int, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(dim, dim, kernel, stride, padding, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_conv(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


class DepthwiseResidual(DepthwiseConv):
    """A map plus its 3 x 3 depthwise convolution, (B, H, W, C) -> (B, H, W, C); DAT++."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        return add_depthwise_conv(x, self.weight, self.bias, gelu=gelu)


def is_unseen(layer: nn.Module) -> bool:
    """Whether a layer is ours, and nobody has a hook on it or another ``forward`` in its place."""
    watched = (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in layer.__dict__
    )
    return type(layer) in (Linear, DepthwiseResidual) and not watched


def gelu_of(layer: nn.Module, x: Tensor) -> Tensor:
    """The GELU of what a layer gives, in one call if the layer is ours."""
    # Whoever looks at a layer or has changed it means what it gives without the GELU.
    return layer(x, gelu=True) if is_unseen(layer) else F.gelu(layer(x))


class DropPath(nn.Module):
    """Leave out a residual branch for some images in training (Huang et al., ECCV 2016), (B, ...) -> (B, ...).

    Not torchvision's ``StochasticDepth``, which does the same and takes seconds to import.

    Args:
        rate: Probability that an image goes without; the others' branch is multiplied by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * (kept / (1 - self.rate) if self.rate < 1 else kept)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class PatchStem(nn.Module):
    """Patches of 4 x 4 pixels, (B, C, H, W) -> (B, H/4, W/4, dim); generation dat."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.conv = Conv(in_chans, dim, 4, stride=4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv(image).permute(0, 2, 3, 1))


class ConvStem(nn.Module):
    """Two overlapping 3 x 3 convolutions of stride 2, (B, C, H, W) -> (B, H/4, W/4, dim); DAT++."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.conv = Conv(in_chans, dim // 2, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(dim // 2)
        self.conv2 = Conv(dim // 2, dim, 3, stride=2, padding=1)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        x = self.norm(self.conv(image).permute(0, 2, 3, 1))
        return self.norm2(convolve(self.conv2, F.gelu(x)))


class Downsample(nn.Module):
    """Between stages, (B, H, W, dim) -> (B, H/2, W/2, out_dim).

    Args:
        dim: Channels in.
        out_dim: Channels out.
        overlapping: 3 x 3 windows as in DAT++, instead of 2 x 2.
    """

    def __init__(self, dim: int, out_dim: int, *, overlapping: bool) -> None:
        super().__init__()
        kernel, padding = (3, 1) if overlapping else (2, 0)
        self.conv = Conv(dim, out_dim, kernel, stride=2, padding=padding, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolve(self.conv, x))


class Mlp(nn.Module):
    """Two linear layers with a GELU, (B, H, W, C) -> (B, H, W, C).

    Args:
        dim: Channels.
        expansion: Hidden channels for each channel.
        depthwise: Add a 3 x 3 depthwise convolution of the hidden map to itself, as in DAT++.
    """

    def __init__(self, dim: int, expansion: int = 4, *, depthwise: bool = False) -> None:
        super().__init__()
        self._width = expansion * dim
        self.up = Linear(dim, self._width)
        self.depthwise = DepthwiseResidual(self._width) if depthwise else None
        self.down = Linear(self._width, dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.depthwise is None:
            up, down = self.up, self.down
            if is_unseen(up) and is_unseen(down):
                return mlp(x, up.weight, up.bias, down.weight, down.bias)
            return down(gelu_of(up, x))
        parts = parts_of_images(x, self._width)
        if parts == 1 or not (is_plain_inference(x, *self.parameters()) and all(map(is_unseen, self.children()))):
            return self._convolved(x)
        return by_parts(self._convolved, x, parts)

    def _convolved(self, x: Tensor) -> Tensor:
        convolution = cast("nn.Module", self.depthwise)
        # Of the hidden map before and after the convolution and after the GELU, one is kept instead of three.
        return recomputed_on_gpu(lambda hidden: self.down(gelu_of(convolution, hidden)), self.up(x))
