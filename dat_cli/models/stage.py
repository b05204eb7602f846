"""One stage: blocks of attention and MLP at one resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dat_cli.catalog import Variant
from dat_cli.models.deformable import DeformableAttention
from dat_cli.models.layers import DepthwiseResidual, Downsample, DropPath, Mlp
from dat_cli.models.neighborhood import NeighborhoodAttention
from dat_cli.models.window import WindowAttention


class Block(nn.Module):
    """x + local(x), then x + attention(norm(x)), then x + mlp(norm(x)); (B, H, W, C) -> (B, H, W, C).

    Args:
        dim: Channels.
        attention: The attention, (B, H, W, C) -> (B, H, W, C).
        drop_path: Probability of leaving out each residual branch for an image in training.
        convolutions: Whether there is a local perception unit, and a depthwise convolution in the MLP (DAT++).
    """

    def __init__(self, dim: int, attention: nn.Module, drop_path: float, *, convolutions: bool) -> None:
        super().__init__()
        self.local = DepthwiseResidual(dim) if convolutions else nn.Identity()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, depthwise=convolutions)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.local(x)
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Downsampling and blocks, (B, H, W, C) -> (B, H / 2, W / 2, 2 C); the first stage only has blocks.

    Args:
        variant: The network's specification.
        index: Which stage, from 0.
        map_size: (H0, W0), the stage's map at the nominal image size.
        drop_path: One probability for each block.
    """

    def __init__(self, variant: Variant, index: int, map_size: tuple[int, int], drop_path: list[float]) -> None:
        super().__init__()
        self.grad_checkpointing = False
        dim, convolutions = variant.dims[index], variant.convolutions
        self.downsample = Downsample(variant.dims[index - 1], dim, overlapping=convolutions) if index else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(dim, build_attention(kind, variant, index, map_size), rate, convolutions=convolutions)
            for kind, rate in zip(variant.blocks[index], drop_path, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


def build_attention(kind: str, variant: Variant, index: int, map_size: tuple[int, int]) -> nn.Module:
    """The attention of a block: L window, S shifted window, N neighbourhood, D deformable."""
    dim, heads = variant.dims[index], variant.heads[index]
    if kind == "N":
        return NeighborhoodAttention(dim, heads, variant.window)
    if kind == "D":
        return DeformableAttention(
            dim,
            heads,
            variant.groups[index],
            map_size,
            stride=variant.strides[index],
            offset_kernel=variant.offset_kernels[index],
            offset_range=variant.offset_range,
            generation=variant.generation,
        )
    return WindowAttention(dim, heads, variant.window, shifted=kind == "S")
