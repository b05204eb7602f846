"""Bilinear sampling of maps at normalised positions: align_corners=True, zeros outside.

Positions are (y, x), where -1 and 1 are the centres of the first and the last cell. They are always float32 or
finer: bfloat16 would move them by a tenth of a cell on the map of a 224-pixel image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.circumstances import is_compiled, is_exported
from dat_cli.ops.setting import is_reference


def bilinear_sample(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample maps at positions.

    Args:
        maps: (B, C, H, W).
        y: (B, ..., N), normalised; float32 or float64.
        x: The same, or what broadcasts with it.

    Returns:
        (B, C, ..., N) in the maps' type.
    """
    y, x = torch.broadcast_tensors(y, x)
    if is_reference():
        return bilinear_sample_reference(maps, y, x)
    at = torch.stack([x, y], dim=-1).flatten(1, -3)
    opaque = is_compiled() and x.is_cpu and not torch.is_grad_enabled()
    sampled = (_sample_in_graph if opaque else _sample)(maps.to(x.dtype), at)
    return sampled.unflatten(2, x.shape[1:-1]).to(maps.dtype)


def bilinear_sample_reference(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The same, corner by corner: the four cells around each position, weighted by their nearness."""
    sampled = maps.new_zeros(maps.shape[:2] + x.shape[1:], dtype=x.dtype)
    for cells, nearness in _corners(y, x, maps.shape[-2], maps.shape[-1]):
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
    height, width = size
    maps = values.new_zeros(*values.shape[:2], height * width)
    for cells, nearness in _corners(positions[..., 0], positions[..., 1], height, width):
        shares = (values * nearness[:, None].to(values.dtype)).flatten(2)
        maps = maps.scatter_add(2, cells.flatten(1)[:, None].expand_as(shares), shares)
    return maps.unflatten(2, size)


def _corners(y: Tensor, x: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The four cells around each position, (B, M, N) as row x W + column, and their nearness, 0 for cells outside."""
    y, x = (y + 1) / 2 * (height - 1), (x + 1) / 2 * (width - 1)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = y.floor() + down, x.floor() + right
        nearness = (1 - (y - row).abs()) * (1 - (x - column).abs())
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        yield (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long(), nearness * inside


def _sample(maps: Tensor, at: Tensor) -> Tensor:
    """(B, C, H, W) at (x, y) of (B, M, N, 2)."""
    if is_exported():  # other tools know it by this name
        return F.grid_sample(maps, at, align_corners=True)
    return torch.grid_sampler_2d(maps, at, 0, 0, True)  # on a GPU the other is cuDNN's, and strange to the compiler


# On CPUs the compiler takes sampling apart into gathers of single numbers, which are five times slower.
_sample_in_graph = torch.library.custom_op(
    "dat_cli::sample", _sample, mutates_args=(), schema="(Tensor maps, Tensor at) -> Tensor"
)


@_sample_in_graph.register_fake
def _sampled(maps: Tensor, at: Tensor) -> Tensor:
    return maps.new_empty(*maps.shape[:2], *at.shape[1:3])
