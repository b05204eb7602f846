"""Bilinear sampling of maps at normalised positions: align_corners=True, zeros outside.

Positions are (y, x), where -1 and 1 are the centres of the first and the last cell. They are always float32 or
finer: bfloat16 would move them by a tenth of a cell on the map of a 224-pixel image.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.setting import is_reference


def bilinear_sample(maps: Tensor, positions: Tensor) -> Tensor:
    """Sample maps at positions.

    Args:
        maps: (B, C, H, W).
        positions: (B, M, N, 2), normalised (y, x); float32 or float64.

    Returns:
        (B, C, M, N) in the maps' type.
    """
    if is_reference():
        return bilinear_sample_reference(maps, positions)
    sampled = F.grid_sample(maps.to(positions.dtype), positions.flip(-1), align_corners=True)
    return sampled.to(maps.dtype)


def bilinear_sample_reference(maps: Tensor, positions: Tensor) -> Tensor:
    """The same, corner by corner: the four cells around each position, weighted by their nearness."""
    height, width = maps.shape[-2:]
    cell = (positions + 1) / 2 * positions.new_tensor([height - 1, width - 1])  # (B, M, N, 2)
    corner = cell.floor()
    sampled = maps.new_zeros(maps.shape[:2] + positions.shape[1:3], dtype=positions.dtype)
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = (corner + positions.new_tensor(step)).unbind(-1)  # (B, M, N)
        nearness = (1 - (cell[..., 0] - y).abs()) * (1 - (cell[..., 1] - x).abs())
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)[:, None]
        values = maps.flatten(2).gather(2, index.expand(-1, maps.shape[1], -1)).unflatten(2, y.shape[1:])
        sampled = sampled + values * (nearness * inside)[:, None]
    return sampled.to(maps.dtype)
