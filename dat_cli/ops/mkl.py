"""Linear layers by Intel's MKL on Intel's processors, with weights that are packed once.

These functions of torch are those that torch.compile calls where it takes weights for constant. They have no backward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.ops.circumstances import OF_INTEL
from dat_cli.ops.kept import kept_of_constant

_CAN_PACK = torch.backends.mkl.is_available() and all(
    hasattr(torch.ops.mkl, f"_mkl_{name}") for name in ("linear", "reorder_linear_weight")
)
_IS_FASTER = _CAN_PACK and OF_INTEL

# Up to so many rows it was faster than oneDNN: a tenth to a third for single images, of deep stages up to a tenth for
# batches of 8. With many rows and few channels it is slower by up to a half.
_ROWS = 2**11


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """The product x weight^T + bias, (..., C) -> (..., C'); None where oneDNN should make it.

    What oneDNN must not be given is not for this function either.
    """
    if not _IS_FASTER or not are_few(x):
        return None
    rows = x.shape[:-1].numel()
    packed = kept_of_constant(_packed, weight, rows, most=1)
    return None if packed is weight else torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)


def are_few(x: Tensor) -> bool:
    """Whether what is multiplied has few rows."""
    return 0 < x.shape[:-1].numel() <= _ROWS


def _packed(weight: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
