"""Bilinear sampling of maps at normalised positions: align_corners=True, zeros outside.

Positions are (y, x), where -1 and 1 are the centres of the first and the last cell. They are always float32 or
finer: bfloat16 would move them by a tenth of a cell on the map of a 224-pixel image.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    sampled = maps.new_zeros(maps.shape[:2] + positions.shape[1:3], dtype=positions.dtype)
    for cells, nearness in _corners(positions, maps.shape[-2], maps.shape[-1]):
        values = maps.flatten(2).gather(2, cells.flatten(1)[:, None].expand(-1, maps.shape[1], -1))
        sampled = sampled + values.unflatten(2, cells.shape[1:]) * nearness[:, None]
    return sampled.to(maps.dtype)


def bilinear_splat(values: Tensor, positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Give values at positions back to the cells that they are sampled from: the transpose of ``bilinear_sample``.

    Args:
        values: (B, C, M, N).
        positions: (B, M, N, 2), normalised (y, x).
        size: (H, W) of the maps.

    Returns:
        (B, C, H, W); what belongs to the zeros outside is lost.
    """
    maps = values.new_zeros(*values.shape[:2], size[0] * size[1])
    for cells, nearness in _corners(positions, *size):
        shares = (values * nearness[:, None].to(values.dtype)).flatten(2)
        maps = maps.scatter_add(2, cells.flatten(1)[:, None].expand_as(shares), shares)
    return maps.unflatten(2, size)


def _corners(positions: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The four cells around each position, (B, M, N) as row x W + column, and their nearness, 0 for cells outside."""
    cell = (positions + 1) / 2 * positions.new_tensor([height - 1, width - 1])  # (B, M, N, 2)
    corner = cell.floor()
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y, x = (corner + positions.new_tensor(step)).unbind(-1)  # (B, M, N)
        nearness = (1 - (cell[..., 0] - y).abs()) * (1 - (cell[..., 1] - x).abs())
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        yield (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long(), nearness * inside
