"""Linear interpolation between neighbours along an axis of maps, and its backward.

From (N, H + S, W) to (N, H, W) along axis 1, in S steps of which each goes on to the next cell by a share of 0 to 1,
(S, N, H, 1); and likewise along axis 2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def between(maps: Tensor, shares: Tensor, axis: int) -> Tensor:
    """What all steps lead to."""
    first, *others = _neighbours(maps, shares, axis)
    found = first.lerp(others[0], shares[0])
    for right, share in zip(others[1:], shares[1:], strict=True):
        found.lerp_(right, share)
    return found


def between_by_steps(maps: Tensor, shares: Tensor, axis: int) -> list[Tensor]:
    """What there is before the first step and after each."""
    first, *others = _neighbours(maps, shares, axis)
    found = [first]
    for right, share in zip(others, shares, strict=True):
        found.append(found[-1].lerp(right, share))
    return found


def derived_between(
    maps: Tensor, shares: Tensor, axis: int, found: list[Tensor], gradient: Tensor, to_maps: Tensor
) -> Tensor:
    """The gradient of shares, (S, N, H), of the steps that found this; that of maps is added to ``to_maps``, zeros."""
    _, *others = _neighbours(maps, shares, axis)
    to_first, *to_others = _neighbours(to_maps, shares, axis)
    of_shares = []
    for step in reversed(range(len(shares))):
        of_shares.append((others[step] - found[step]).mul_(gradient).sum(dim=3 - axis))
        to_right = gradient * shares[step]
        to_others[step].add_(to_right)
        gradient = gradient - to_right
    to_first.add_(gradient)
    return torch.stack(of_shares[::-1])


def _neighbours(maps: Tensor, shares: Tensor, axis: int) -> list[Tensor]:
    size = maps.shape[axis] - len(shares)
    return [maps.narrow(axis, step, size) for step in range(len(shares) + 1)]
