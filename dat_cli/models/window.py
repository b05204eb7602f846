"""Attention inside windows, and inside windows shifted by half their size (Swin, Liu et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.layers import Linear, head_dim, is_unseen, project_padded
from dat_cli.models.observe import Local, Observable, Observation
from dat_cli.ops.attention import attention_weights
from dat_cli.ops.circumstances import is_plain_inference
from dat_cli.ops.kept import kept_by_table
from dat_cli.ops.parts import by_parts, parts_of_images
from dat_cli.ops.patches import patch_attention
from dat_cli.ops.relative import relative_bias

_SPARE = 1.2  # cells of a padded map, for each of the map, up to which they are all multiplied


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
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        parts = parts_of_images(x, 3 * x.shape[-1])
        if parts == 1 or self.observer is not None or not is_plain_inference(x, *self.parameters()):
            return self._of_images(x)
        return by_parts(self._of_images, x, parts) if all(map(is_unseen, self.children())) else self._of_images(x)

    def _of_images(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, right = -height % self.window, -width % self.window
        if (height + below) * (width + right) > _SPARE * height * width:  # what is padding is not multiplied
            qkv = self._cut(project_padded(self.qkv, x, below, right))
            return self.proj(self._join(self._attend(qkv, (height, width)))[:, :height, :width])
        # C channels are moved instead of 3 C, and heads stay where they are.
        x = F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x
        return self._join(self.proj(self._attend(self.qkv(self._cut(x)), (height, width))))[:, :height, :width]

    def _cut(self, x: Tensor) -> Tensor:
        """Windows of the rolled map, (B, H, W, C) -> (B, H / M, W / M, M M, C)."""
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return x.transpose(2, 3).flatten(3, 4)

    def _join(self, x: Tensor) -> Tensor:
        """The map that windows were cut from."""
        x = x.unflatten(3, (self.window, self.window)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return x.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else x

    def _attend(self, qkv: Tensor, map_size: tuple[int, int]) -> Tensor:
        """(B, rows, columns, M M, 3 C) -> (B, rows, columns, M M, C); ``map_size`` is that without padding."""
        _, rows, columns, _, _ = qkv.shape
        parts = qkv.unflatten(-1, (3, self.heads, self.head_dim)).flatten(1, 2).unbind(3)
        query, key, value = (part.transpose(2, 3) for part in parts)  # each (B, n, h, M M, d)
        table = self.relative_position_bias_table
        bias, kinds = kept_by_table(_bias, table, self.window, self.shift, rows, columns, beside=qkv)
        if self.observer is None:
            attended = patch_attention(query, key, value, bias, kinds)
        else:
            weights = attention_weights(query, key, bias.index_select(0, kinds).to(qkv.dtype))
            padded_size = (rows * self.window, columns * self.window)
            attended = self._told(weights, padded_size, map_size, self.observer) @ value
        return attended.transpose(2, 3).flatten(3).unflatten(1, (rows, columns))

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


def _bias(table: Tensor, window: int, shift: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """The table by the difference of query and key, row offset major, by kind of window: (K, h, M M, M M).

    And the kind of each of the windows, (rows columns,). If the map was rolled, the last ones of each axis hold
    positions from different sides, which -100 keeps apart.
    """
    by_offset = table.T.unflatten(1, (2 * window - 1, -1)).flip(1, 2)  # (h, 2 M - 1, 2 M - 1), by key minus query
    bias = relative_bias(by_offset, (window, window))[None]
    if not shift:
        return bias, torch.zeros(rows * columns, dtype=torch.long, device=table.device)
    side = torch.arange(window, device=table.device) >= window - shift
    apart = side[:, None] != side
    apart = torch.stack([torch.zeros_like(apart), apart])  # (2, M, M): along one axis, in a window, and in the last
    apart = apart[:, None, :, None, :, None] | apart[None, :, None, :, None, :]  # (2, 2, M, M, M, M)
    bias = bias - 100 * apart.flatten(4).flatten(2, 3).flatten(0, 1)[:, None].to(bias.dtype)
    y, x = (torch.arange(number, device=table.device) == number - 1 for number in (rows, columns))
    return bias, (2 * y[:, None] + x).flatten()
