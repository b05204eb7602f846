"""Which way the bias of one key for all queries is made.

Bilinear weights are separable: what a key adds to the map of queries is Y T X^T, with its table T and two entries in
each row of Y and of X.
"""

from __future__ import annotations

from torch import Tensor

from dat_cli.ops.keywise.cells import steps_along
from dat_cli.ops.keywise.shifted import Shifted
from dat_cli.ops.keywise.stretched import Stretched
from dat_cli.ops.position_bias import Grid

_STEPS = 3  # from a cell to the next; each takes a pass
_CELLS = 2**6  # of a table, for each row of queries; many more cost more to multiply than to look up


Way = type[Shifted] | type[Stretched]


def bias_by_key(table: Tensor, query_points: Grid) -> Way | None:
    """The way that is faster than looking up each pair, if there is one.

    Args:
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """
    tall, wide = table.shape[1:]
    if max(map(steps_along, query_points, (tall, wide))) <= _STEPS:
        return Shifted
    return Stretched if tall > 1 and tall * wide <= _CELLS * len(query_points[0]) else None
