"""Deformable attention: keys and values are sampled at positions learned from the image (DAT, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.catalog import Generation
from dat_cli.errors import ModelError
from dat_cli.models.layers import DepthwiseConv, Linear, head_dim
from dat_cli.models.observe import Deformed, Observable
from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.deformable import deformable_attention, deformable_weights
from dat_cli.ops.linear import linear_in_full
from dat_cli.ops.points import query_points, reference_points
from dat_cli.ops.recompute import recomputed_if_compiled


class DeformableAttention(Observable):
    """Multi-head attention of every position to sampled ones, (B, H, W, C) -> (B, H, W, C).

    Complexity: 2 HW N C + 2 HW C^2 + 2 N C^2 for the attention with N = HW / r^2 sampled keys, and
    (k^2 + 2) N C for the offsets.

    To see where a block looks, use ``models.observe``.

    Args:
        dim: Channels, C.
        heads: Attention heads, h; divides C.
        groups: Groups of channels with sampling points of their own, G; divides C and h.
        bias_size: (H0, W0), size of the map that the table of position bias is made for. At another size the table
            stretches over the map.
        stride: Positions between two reference points, r.
        offset_kernel: Size of the depthwise convolution that predicts offsets, k.
        offset_range: Largest offset in half cells of the sampled grid, s; if negative, offsets are free and positions
            are held inside the map.
        generation: Whose coordinates: ``dat`` or ``dat_pp``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        groups: int,
        bias_size: tuple[int, int],
        *,
        stride: int = 1,
        offset_kernel: int = 5,
        offset_range: float = -1.0,
        generation: Generation = "dat_pp",
    ) -> None:
        super().__init__()
        if groups < 1 or heads % groups:
            raise ModelError(f"{groups} groups do not divide {heads} heads")
        self.heads = heads
        self.head_dim = head_dim(dim, heads)
        self.groups = groups
        self.generation: Generation = generation
        self.points = SamplingPoints(dim // groups, groups, stride, offset_kernel, offset_range, generation)
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim)
        self.value = Linear(dim, dim)
        self.proj = Linear(dim, dim)
        self.rpe_table = nn.Parameter(torch.empty(heads, 2 * bias_size[0] - 1, 2 * bias_size[1] - 1))
        nn.init.trunc_normal_(self.rpe_table, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)
        positions = self.points(query)  # (B, G, Hk, Wk, 2)
        sampled = self._sample(x, positions)  # (B, N, C)
        heads = (self.heads, self.head_dim)
        queries, keys, values = (part.unflatten(-1, heads) for part in (query, self.key(sampled), self.value(sampled)))
        grid = query_points(x.shape[1], x.shape[2], self.generation, like=positions)
        keys_at = positions.flatten(2, 3)
        if self.observer is None:
            attended = deformable_attention(queries, keys, values, self.rpe_table, grid, keys_at)
        else:
            weights = deformable_weights(queries, keys, self.rpe_table, grid, keys_at)
            offsets = self.points.offsets(query)
            self.observer(
                Deformed(self.points.reference(offsets), offsets, positions, weights, (x.shape[1], x.shape[2]))
            )
            attended = (weights @ values.transpose(1, 2)).transpose(1, 2).reshape(queries.shape)
        return self.proj(attended.flatten(3))

    def _sample(self, x: Tensor, positions: Tensor) -> Tensor:
        """Sample each group's channels at its positions: (B, N, C), channels group-major."""
        maps = recomputed_if_compiled(self._by_group, x)
        sampled = bilinear_sample(maps, *positions.flatten(0, 1).unbind(-1))  # (B G, C / G, Hk, Wk)
        return sampled.unflatten(0, (x.shape[0], self.groups)).flatten(3).flatten(1, 2).transpose(1, 2).contiguous()

    def _by_group(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B G, C / G, H, W)."""
        return x.unflatten(-1, (self.groups, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)


class SamplingPoints(nn.Module):
    """The positions that queries ask for: reference points moved by offsets (DAT, section 3.2 and figure 2b).

    The offsets come from the queries by a small network that the groups share. Its last layer and all coordinates are
    float32 or finer, whatever the precision of the rest.

    (B, H, W, G D) -> (B, G, Hk, Wk, 2), normalised (y, x): -1 and 1 are the first and the last cell's centre.

    Args:
        dim: Channels of a group, D.
        groups: G.
        stride: r.
        kernel: k.
        offset_range: s.
        generation: Whose coordinates.
    """

    def __init__(
        self, dim: int, groups: int, stride: int, kernel: int, offset_range: float, generation: Generation
    ) -> None:
        super().__init__()
        self.groups = groups
        self.offset_range = offset_range
        self.generation: Generation = generation
        padding = 0 if generation == "dat_pp" and kernel == stride else kernel // 2
        self.conv = DepthwiseConv(dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim)
        self.proj = Linear(dim, 2, bias=False)

    def forward(self, query: Tensor) -> Tensor:
        return self.place(self.offsets(query))

    def offsets(self, query: Tensor) -> Tensor:
        """How far the points move: (B, H, W, G D) -> (B, G, Hk, Wk, 2)."""
        by_group = self.conv(query).unflatten(-1, (self.groups, -1))  # (B, Hk, Wk, G, D)
        hidden = F.gelu(self.norm(by_group))
        offsets = linear_in_full(hidden, self.proj.weight).permute(0, 3, 1, 2, 4)
        if self.offset_range < 0:
            return offsets
        cells = [size - 1 if self.generation == "dat_pp" else size for size in offsets.shape[2:4]]
        # Filled, not copied there from a list: a GPU would wait for the copy.
        reach = torch.stack([offsets.new_full((), max(1, size)) for size in cells])
        return self.offset_range * offsets.tanh() / reach

    def reference(self, offsets: Tensor) -> Tensor:
        """Where the points stand before they move, (Hk, Wk, 2), for offsets (B, G, Hk, Wk, 2)."""
        return self._reference(offsets).clone()  # the caller's own

    def place(self, offsets: Tensor) -> Tensor:
        """Where the points stand after they have moved, (B, G, Hk, Wk, 2) -> (B, G, Hk, Wk, 2)."""
        positions = self._reference(offsets) + offsets
        if self.offset_range >= 0:
            return positions
        return positions.tanh() if self.generation == "dat" else positions.clamp(-1, 1)

    def _reference(self, offsets: Tensor) -> Tensor:
        return reference_points(offsets.shape[2], offsets.shape[3], self.generation, like=offsets)
