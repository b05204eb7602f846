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
    """How often to go on to the next cell for all queries of a key to be reached.

    Query i is looked up between two cells, which are cells i and i + 1 from some first one if queries are exactly a
    cell apart: one step. If by the last query they have fallen behind or run ahead by D cells, it takes ceil(D) more.

    Args:
        at: (W,), of queries.
        size: 2 W0 - 1.
    """
    least, greatest = (at * ((size - 1) / 4) - torch.arange(len(at), device=at.device)).aminmax()
    return math.ceil((greatest - least).item() - 1e-3) + 1  # what rounding makes of 0 is no step
