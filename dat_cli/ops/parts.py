"""Computing part after part where what is made on the way would not stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dat_cli.ops.circumstances import is_plain_inference

# In numbers. What is larger than 16 MiB goes through the memory; parts of 4 MiB are large enough for full speed, and
# were as fast as smaller and larger ones.
_LARGE = 2**22
_PART = 2**20


def by_parts(compute: Callable[[Tensor], Tensor], x: Tensor, *weights: Tensor, width: int) -> Tensor:
    """``compute(x)``, in inference in float32 on a CPU perhaps of some images at a time.

    Args:
        compute: (B, ..., C) -> (B, ..., C'), of each image alone.
        x: (B, ..., C).
        weights: What it computes with.
        width: Channels of what it makes on the way.
    """
    if torch.compiler.is_compiling() or not is_plain_inference(x, *weights):
        return compute(x)
    numbers = x.shape[:-1].numel() * width
    size = max(1, len(x) * _PART // numbers) if numbers > _LARGE else len(x)
    return torch.cat([compute(part) for part in x.split(size)]) if size < len(x) else compute(x)
