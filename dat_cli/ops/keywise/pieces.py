"""Pieces of a map that overlap, added up where they were taken from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

_STRIP = 16  # columns: pieces that begin within one are added up before they are added to what overlaps


class Pieces:
    """The sums of pieces, for each head.

    The rows of pieces that fall on the same row of the map, and begin within the same strip of it, are moved to where
    the strip begins and added up. Only those sums are then added to the map, in which strips and what hangs over them
    overlap. They are few if pieces that are added together lie near each other.

    Args:
        maps: (h, H', W'), of whose kind the sums are.
        rows: Where pieces begin, (N,), of 0 or more; int32.
        columns: The same.
        high: H, of the highest piece.
        wide: W, of each piece.
    """

    def __init__(self, maps: Tensor, rows: Tensor, columns: Tensor, high: int, wide: int) -> None:
        self._top, bottom = _range(rows)
        self._left, right = _range(columns // _STRIP)
        strips, tall, width = right - self._left + 1, bottom - self._top + high, wide + _STRIP - 1
        self._sums = maps.new_zeros(len(maps), strips, tall, width)
        self._memory = maps.new_zeros(0)

    def block(self, rows: Tensor, columns: Tensor, high: int) -> Block:
        """Some pieces that begin there, (N',), and are so high; to be done with before the next block.

        In memory zeros stand before each row of a piece: one strip less a column. So from a row of the memory that
        begins a little earlier, a piece is seen moved to the right.
        """
        (top, bottom), (left, right) = _range(rows), _range(columns // _STRIP)
        sums = self._sums[:, left - self._left : right - self._left + 1, top - self._top : bottom - self._top + high]
        strips, tall, width = sums.shape[1:]
        down = (rows - top)[:, None] + torch.arange(high, dtype=torch.int32, device=rows.device)  # (N', H)
        # Sorted so that nothing but what is given decides in which order sums are taken.
        places, order = ((columns // _STRIP - left)[:, None] * tall + down).flatten().sort(stable=True)
        counts = places.bincount(minlength=strips * tall)
        size = len(places) * width + _STRIP - 1
        if len(self._memory) != size:
            self._memory = sums.new_zeros(size)
        begin = torch.arange(_STRIP - 1, size, width, dtype=torch.int32, device=rows.device).view(down.shape)
        begin = (begin - (columns % _STRIP)[:, None]).flatten()[order]
        return Block(self._memory, sums, begin, (counts.cumsum(0) - counts).int())

    def add_to(self, maps: Tensor) -> None:
        """Add the sums to (h, H', W')."""
        high, width = self._sums.shape[2:]
        for strip, sums in enumerate(self._sums.unbind(1), start=self._left):
            place = maps[:, self._top : self._top + high, strip * _STRIP :][..., :width]
            place.add_(sums[..., : place.shape[-1]])


class Block:
    """Where some pieces of one head are written, to be added up.

    Args:
        memory: Zeros, and in between, where rows of pieces are written.
        sums: (h, strips, tall, W + strip - 1).
        begin: Where in the memory rows begin that are moved to their strip, in the order of places in the sums.
        first: Of each place, the first of its rows.
    """

    def __init__(self, memory: Tensor, sums: Tensor, begin: Tensor, first: Tensor) -> None:
        self._sums, self._begin, self._first = sums, begin, first
        width = sums.shape[-1]
        self._rows = memory.as_strided((len(memory) - width + 1, width), (1, 1))
        self._in_order = torch.arange(len(begin), dtype=torch.int32, device=begin.device)
        self.pieces = memory[_STRIP - 1 :].view(-1, width)[:, : width - _STRIP + 1]
        """(N' H, W)."""

    def add(self, head: int) -> None:
        """Add what is there now to the sums of this head."""
        moved = self._rows.index_select(0, self._begin)
        sums = F.embedding_bag(self._in_order, moved, self._first, mode="sum")
        self._sums[head].add_(sums.view_as(self._sums[head]))


def _range(places: Tensor) -> tuple[int, int]:
    least, greatest = places.aminmax()
    return int(least), int(greatest)
