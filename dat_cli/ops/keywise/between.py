"""Linear interpolation between neighbours along an axis of maps, and its backward.

From (N, H + S, W) to (N, H, W) along axis 1, in S steps of which each goes on to the next cell by a share of 0 to 1,
(N, H, 1), and begins only where the one before has arrived; and likewise along axis 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def between(maps: Tensor, shares: Sequence[Tensor], axis: int) -> Tensor:
    """What the steps lead to."""
    found, *others = _neighbours(maps, len(shares), axis)
    for step, (right, share) in enumerate(zip(others, shares, strict=True)):
        found = found.lerp_(right, share) if step else found.lerp(right, share)
    return found


def slopes(maps: Tensor, arrived: Sequence[Tensor], axis: int) -> Tensor:
    """How much that changes from a cell to the next one: (N, H, W).

    Args:
        maps: (N, H + S, W).
        arrived: Of each step but the last, 1 where it has arrived and 0 elsewhere.
        axis: Along which.
    """
    here, following = _neighbours(maps, 1, axis)
    return between(following - here, arrived, axis)


def taken(shares: Sequence[Tensor]) -> list[Tensor]:
    """How much of each of the S + 1 cells is in what the steps lead to."""
    going_on = [*(1 - share for share in shares), torch.ones_like(shares[-1])]
    return [going_on[0], *(share * left for share, left in zip(shares, going_on[1:], strict=True))]


def spread(gradient: Tensor, parts: Sequence[Tensor], axis: int, to_maps: Tensor) -> None:
    """Write the gradient of the maps.

    Args:
        gradient: Of what was found, (N, H, W).
        parts: Of each cell in it, as ``taken`` tells.
        axis: Along which.
        to_maps: (N, H + S, W).
    """
    first, *others = _neighbours(to_maps, len(parts) - 1, axis)
    torch.mul(gradient, parts[0], out=first)
    to_maps.narrow(axis, gradient.shape[axis], len(others)).zero_()
    for other, part in zip(others, parts[1:], strict=True):
        other.add_(gradient * part)


def _neighbours(maps: Tensor, steps: int, axis: int) -> list[Tensor]:
    size = maps.shape[axis] - steps
    return [maps.narrow(axis, step, size) for step in range(steps + 1)]
