"""Computing part after part where what is made on the way would not stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dat_cli.ops.circumstances import is_traced_or_transformed

_LARGE = 2**22  # numbers, 16 MiB: what is larger goes through the memory

PART = 2**20
"""Numbers, 4 MiB: large enough for full speed. Twice as many were as fast, and half as many."""

_ROWS = 2**11 + 1  # at least, in a part: weights would be packed anew for each number of fewer, see ``mkl``


def parts_of_images(x: Tensor, width: int) -> int:
    """Into how many parts to divide a batch in eager form on a CPU.

    Args:
        x: (B, ..., C).
        width: Channels of what is made on the way.
    """
    if not _is_large(x, width):
        return 1
    rows = x.shape[1:-1].numel()
    return max(1, len(x) // max(1, PART // (rows * width), -(-_ROWS // rows)))


def parts_of_rows(x: Tensor, width: int) -> int:
    """The same for rows, where each is computed alone.

    Args:
        x: (..., C).
        width: Channels of what is made on the way.
    """
    return max(1, x.shape[:-1].numel() // max(_ROWS, PART // width)) if _is_large(x, width) else 1


def by_parts(compute: Callable[[Tensor], Tensor], x: Tensor, parts: int) -> Tensor:
    """``compute(x)``, of nearly as many at a time.

    Args:
        compute: (B, ..., C) -> (B, ..., C'), of each image or row alone.
        x: (B, ..., C).
        parts: How many.
    """
    return torch.cat([compute(part) for part in x.tensor_split(parts)])


def _is_large(x: Tensor, width: int) -> bool:
    if not x.is_cpu or torch.compiler.is_compiling() or is_traced_or_transformed():
        return False
    return x.shape[:-1].numel() * width > _LARGE
