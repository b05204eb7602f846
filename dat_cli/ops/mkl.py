"""Linear layers by Intel's MKL on Intel's processors, with weights that are packed once.

These functions of torch are those that torch.compile calls where it takes weights for constant. They have no backward.
"""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from dat_cli.ops.kept import kept_of_constant


def _is_of_intel() -> bool:
    """Whether the processor is Intel's; on others MKL is slower than oneDNN."""
    name = platform.processor()
    with suppress(OSError):
        name += Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return "GenuineIntel" in name


_CAN_PACK = torch.backends.mkl.is_available() and all(
    hasattr(torch.ops.mkl, f"_mkl_{name}") for name in ("linear", "reorder_linear_weight")
)
_IS_FASTER = _CAN_PACK and _is_of_intel()

# Up to so many rows it was faster than oneDNN: a tenth to a third for single images, of deep stages up to a tenth for
# batches of 8. With many rows and few channels it is slower by up to a half.
_ROWS = 2**11


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """The product x weight^T + bias, (..., C) -> (..., C'); None where oneDNN should make it.

    What oneDNN must not be given is not for this function either.
    """
    rows = x.shape[:-1].numel()
    if not _IS_FASTER or not 0 < rows <= _ROWS:
        return None
    packed = kept_of_constant(_packed, weight, rows)
    return None if packed is weight else torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)


def _packed(weight: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
