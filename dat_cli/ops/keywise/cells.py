"""Where queries and keys meet in a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cells(at: Tensor, keys: Tensor, size: int) -> Tensor:
    """Where in the table half the displacement falls: (W,), (N,) -> (N, W).

    Args:
        at: Of queries, along one axis.
        keys: Of keys.
        size: 2 W0 - 1.
    """
    return ((at - keys[:, None]) / 2 + 1) / 2 * (size - 1)


def steps_along(at: Tensor, size: int) -> int:
    """By how many cells, rounded up, queries leave a row of as many cells, and one more, as they lie between cells.

    Args:
        at: (W,), of queries.
        size: 2 W0 - 1.
    """
    least, greatest = (at * ((size - 1) / 4) - torch.arange(len(at), device=at.device)).aminmax()
    return math.ceil((greatest - least).item() - 1e-3) + 1
