"""Bias by the distance between two cells, for all pairs of two patches of a grid."""

from __future__ import annotations

from torch import Tensor


def relative_bias(table: Tensor, keys: tuple[int, int]) -> Tensor:
    """What a table says of each query and key: entry (u - t + T - 1, u' - t' + T' - 1) for query (t, t'), key (u, u').

    Args:
        table: (h, T + U - 1, T' + U' - 1).
        keys: (U, U'); queries are (T, T').

    Returns:
        (h, T T', U U').
    """
    # Keys side by side meet entries side by side: both axes are windows that slide along the table, one entry back
    # for each query. The first axis is copied in pieces that already hold the second.
    columns = table.unfold(2, keys[1], 1).flip(2).transpose(1, 2).contiguous()  # (h, T', T + U - 1, U')
    pairs = columns.unfold(2, keys[0], 1).permute(0, 2, 1, 4, 3).flip(1)  # (h, T, T', U, U')
    return pairs.flatten(3).flatten(1, 2)
