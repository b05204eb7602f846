"""Linear layers by Intel's MKL on Intel's processors, with weights that are packed once.

These functions of torch are those that torch.compile calls where it takes weights for constant. They have no backward.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from dat_cli.ops.circumstances import is_compiled, is_frozen
from dat_cli.ops.kept import kept_of_constant
from dat_cli.ops.processor import is_of_intel

# Up to so many rows it was faster than oneDNN: a tenth to a third for single images, of deep stages up to a tenth for
# batches of 8. With many rows and few channels it is slower by up to a half.
_ROWS = 2**11

_CAN_PACK = torch.backends.mkl.is_available() and all(
    hasattr(torch.ops.mkl, f"_mkl_{name}") for name in ("linear", "reorder_linear_weight")
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """The product x weight^T + bias, (..., C) -> (..., C'); None where oneDNN should make it.

    What oneDNN must not be given is not for this function either.
    """
    # It does not compare channels itself, and would read beyond them.
    if not _IS_FASTER or not are_few(x) or x.shape[-1] != weight.shape[1]:
        return None
    rows = x.shape[:-1].numel()
    packed = kept_of_constant(_packed, weight, rows, most=1)
    return None if packed is weight else torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)


def are_few(x: Tensor) -> bool:
    """Whether what is multiplied has few rows."""
    return 0 < x.shape[:-1].numel() <= _ROWS


def is_left_to_compiler(x: Tensor, weight: Tensor) -> bool:
    """Whether a compiler that takes weights for constant does better with a layer than operators of our own."""
    return is_at_its_best() and (weight.ndim > 2 or are_few(x))


def is_at_its_best() -> bool:
    """Whether the compiler takes weights for constant, and multiplies by MKL where that is fast."""
    return _IS_FASTER and is_compiled() and is_frozen()


def _packed(weight: Tensor, rows: int) -> Tensor:
    return torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)


# On others it is slower than oneDNN. Of Linux alone: what MKL reserves beside a packed weight, 8 MB, Windows would
# count as taken.
_IS_FASTER = _CAN_PACK and sys.platform == "linux" and is_of_intel()
