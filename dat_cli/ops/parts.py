"""Computing part after part where what is made on the way would not stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dat_cli.ops.circumstances import is_traced_or_transformed

_LARGE = 2**22  # numbers, 16 MiB: what is larger goes through the memory

PART = 2**20
"""Numbers, 4 MiB: large enough for full speed. Twice as many were as fast, and half as many."""

_ROWS = 2**11 + 1  # at least, in a part: fewer would be packed for, see ``mkl``


def part_size(x: Tensor, width: int) -> int | None:
    """How many images to compute at once, in eager form on a CPU; None if all.

    Args:
        x: (B, ..., C).
        width: Channels of what is made on the way.
    """
    if not x.is_cpu or torch.compiler.is_compiling() or is_traced_or_transformed():
        return None
    numbers = x.shape[:-1].numel() * width
    size = max(1, len(x) * PART // numbers) if numbers > _LARGE else len(x)
    return size if size < len(x) else None


def part_of_rows(x: Tensor, width: int) -> int | None:
    """The same of rows, where each is computed alone.

    Args:
        x: (..., C).
        width: Channels of what is made on the way.
    """
    if not x.is_cpu or torch.compiler.is_compiling() or is_traced_or_transformed():
        return None
    rows = x.shape[:-1].numel()
    parts = rows // max(_ROWS, PART // width) if rows * width > _LARGE else 1
    return -(-rows // parts) if parts > 1 else None


def by_parts(compute: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """``compute(x)``, of so many images at a time.

    Args:
        compute: (B, ..., C) -> (B, ..., C'), of each image alone.
        x: (B, ..., C).
        size: Images.
    """
    return torch.cat([compute(part) for part in x.split(size)])
