"""Attention inside windows, and inside windows shifted by half their size (Swin, Liu et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.layers import head_dim, project_padded
from dat_cli.models.observe import Local, Observable, Observation


class WindowAttention(Observable):
    """Multi-head self-attention in non-overlapping M x M windows, (B, H, W, C) -> (B, H, W, C).

    Sizes that M does not divide are padded with zeros at the right and the bottom; the padding is seen as it is in
    the authors' detection code, not masked.

    Args:
        dim: Channels, C.
        heads: Attention heads; divides C.
        window: M.
        shifted: Roll the map by ceil(M / 2) first, so that windows straddle those of the block before; pairs from
            different sides of the seam are kept apart. (Swin rolls by floor(M / 2).)
    """

    def __init__(self, dim: int, heads: int, window: int = 7, *, shifted: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim(dim, heads)
        self.window = window
        self.shift = -(-window // 2) if shifted else 0
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, right = -height % self.window, -width % self.window
        qkv = project_padded(self.qkv, x, below, right)
        if self.shift:
            qkv = qkv.roll((-self.shift, -self.shift), dims=(1, 2))
        x = self._attend(qkv, (height, width))
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return self.proj(x[:, :height, :width])

    def _attend(self, qkv: Tensor, map_size: tuple[int, int]) -> Tensor:
        """(B, H, W, 3 C) -> (B, H, W, C), H and W divisible by M, of which ``map_size`` is no padding."""
        batch, height, width, _ = qkv.shape
        size = self.window
        rows, columns = height // size, width // size
        x = qkv.unflatten(-1, (3, self.heads, self.head_dim)).unflatten(2, (columns, size)).unflatten(1, (rows, size))
        x = x.permute(5, 0, 1, 3, 6, 2, 4, 7)  # (3, B, H / M, W / M, h, M, M, d)
        x = x.reshape(3, batch, rows * columns, self.heads, size * size, self.head_dim)
        bias = self._bias().to(qkv.dtype)  # (h, M M, M M)
        if self.shift:
            seams = _seams(height, width, size, self.shift, like=bias)  # (n, 1, M M, M M)
            query, key, value = x.flatten(2, 3)  # each (B, n h, M M, d)
            mask = (bias + seams).flatten(0, 1)
        else:
            query, key, value = x.flatten(1, 2)  # each (B n, h, M M, d)
            mask = bias
        if self.observer is None:
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[None])
        else:
            scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5 + mask
            weights = scores.softmax(dim=-1).view(batch, rows * columns, self.heads, size * size, size * size)
            x = self._told(weights, (height, width), map_size, self.observer).reshape(scores.shape) @ value
        x = x.reshape(batch, rows, columns, self.heads, size, size, self.head_dim)
        return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, self.heads * self.head_dim)

    def _told(
        self,
        weights: Tensor,
        padded_size: tuple[int, int],
        map_size: tuple[int, int],
        observer: Callable[[Observation], None],
    ) -> Tensor:
        """Tell the observer of weights (B, n, h, M M, M M); the same, as a function of what it was told."""
        height, width = padded_size
        size, (rows, columns) = self.window, map_size
        grid = torch.arange(height * width, device=weights.device).view(height, width)
        if self.shift:
            grid = grid.roll((-self.shift, -self.shift), dims=(0, 1))
        windows = grid.view(height // size, size, width // size, size).transpose(1, 2).reshape(-1, size * size)
        order = windows.flatten()  # cells of the map as they stand in the windows
        place = order.argsort()
        cells = windows[:, None].expand(-1, size * size, -1).flatten(0, 1)[place].unflatten(0, padded_size)
        by_cell = weights.transpose(1, 2).flatten(2, 3)[:, :, place].unflatten(2, padded_size)  # (B, h, H, W, M M)
        seen = by_cell[:, :, :rows, :columns]
        observer(Local(cells[:rows, :columns], seen, padded_size))
        by_cell = F.pad(seen, (0, 0, 0, width - columns, 0, height - rows))  # what padding looks at is cut off below
        return by_cell.flatten(2, 3)[:, :, order].unflatten(2, (-1, size * size)).transpose(1, 2)

    def _bias(self) -> Tensor:
        """(h, M M, M M): the table by the difference of query and key, row offset major."""
        size = self.window
        position = torch.arange(size, device=self.relative_position_bias_table.device)
        offset = position[:, None] - position + size - 1  # (M, M)
        table = self.relative_position_bias_table.T.unflatten(1, (2 * size - 1, -1))  # (h, 2 M - 1, 2 M - 1)
        bias = table[:, offset[:, None, :, None], offset[None, :, None, :]]  # (h, M, M, M, M)
        return bias.flatten(3).flatten(1, 2)


def _seams(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """(n, 1, M M, M M): -100 between positions of a window that the roll brought from different sides."""
    rows, columns = _regions(height, window, shift, like), _regions(width, window, shift, like)
    region = rows[:, None, :, None] * 3 + columns[None, :, None, :]  # (H / M, W / M, M, M)
    region = region.flatten(2).flatten(0, 1)  # (n, M M)
    return (region[:, :, None] != region[:, None]).to(like.dtype)[:, None] * -100.0


def _regions(size: int, window: int, shift: int, like: Tensor) -> Tensor:
    """(size / M, M): 0, 1 or 2 along one axis, cut at -M and at -shift."""
    position = torch.arange(size, device=like.device)
    return ((position >= size - window).long() + (position >= size - shift).long()).view(-1, window)
