"""Neighbourhood attention as a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dat_cli.errors import ModelError
from dat_cli.models.layers import Linear, head_dim, project_padded
from dat_cli.models.observe import Local, Observable
from dat_cli.ops.local import attend_to_cells
from dat_cli.ops.neighborhood import neighborhood_attention, neighborhoods


class NeighborhoodAttention(Observable):
    """Multi-head self-attention to the K x K nearest positions, (B, H, W, C) -> (B, H, W, C).

    As in NAT (Hassani et al., CVPR 2023) with relative position bias; needs no package of compiled kernels. Maps
    smaller than K are padded with zeros at the right and the bottom.

    Args:
        dim: Channels, C.
        heads: Attention heads; divides C.
        kernel: K, odd.
    """

    def __init__(self, dim: int, heads: int, kernel: int = 7) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ModelError(f"the kernel of neighbourhood attention is {kernel}", hint="give an odd one")
        self.heads = heads
        self.head_dim = head_dim(dim, heads)
        self.kernel = kernel
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.rpb = nn.Parameter(torch.empty(heads, 2 * kernel - 1, 2 * kernel - 1))
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        qkv = project_padded(self.qkv, x, max(0, self.kernel - height), max(0, self.kernel - width))
        query, key, value = qkv.unflatten(-1, (3, self.heads, self.head_dim)).unbind(3)  # each (B, H, W, h, d)
        if self.observer is None:
            attended = neighborhood_attention(query, key, value, self.rpb, self.kernel)[:, :height, :width]
        else:
            padded = (qkv.shape[1], qkv.shape[2])
            cells, bias = neighborhoods(self.rpb, *padded, self.kernel)
            cells, bias = cells[:height, :width], bias[:, :height, :width]
            attended, weights = attend_to_cells(query[:, :height, :width], key, value, bias, cells)
            self.observer(Local(cells, weights, padded))
        return self.proj(attended.flatten(3))
