"""Pieces of a map that overlap, added up where they were taken from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

_STRIP = 16  # columns: pieces that begin within one are added up before they are added to what overlaps


class Pieces:
    """The sums of pieces, for each head.

    The rows of all pieces that fall on the same row of the map, and begin within the same strip of it, are moved to
    where the strip begins and added up. Only those sums, which are few, are then added to the map, in which strips and
    what hangs over them overlap.

    Args:
        heads: h.
        rows: Where pieces begin, (N,), of 0 or more; int32.
        columns: The same.
        high: H, of the highest piece.
        wide: W, of each piece.
    """

    def __init__(self, heads: int, rows: Tensor, columns: Tensor, high: int, wide: int) -> None:
        self._top, bottom = _range(rows)
        self._left, right = _range(columns // _STRIP)
        self._sums = torch.zeros(heads, right - self._left + 1, bottom - self._top + high, wide + _STRIP - 1)
        self._memory = torch.zeros(0)

    def room(self, rows: Tensor, columns: Tensor, high: int) -> Room:
        """For pieces, of any head, that begin there, (N,), and are so high."""
        top, bottom = _range(rows)
        sums = self._sums[:, :, top - self._top : bottom - self._top + high]
        strips, tall, width = sums.shape[1:]
        down = (rows - top)[:, None] + torch.arange(high, dtype=torch.int32)
        places, order = ((columns // _STRIP - self._left)[:, None] * tall + down).flatten().sort(stable=True)
        counts = places.bincount(minlength=strips * tall)
        size = _STRIP - 1 + len(places) * width
        if len(self._memory) != size:
            self._memory = torch.zeros(size)
        starts = torch.arange(_STRIP - 1, size, width, dtype=torch.int32).view(down.shape) - (columns % _STRIP)[:, None]
        return Room(self._memory, sums, starts.flatten()[order], (counts.cumsum(0) - counts).int())

    def add_to(self, maps: Tensor) -> None:
        """Add the sums to (h, H', W')."""
        high, width = self._sums.shape[2:]
        for strip, sums in enumerate(self._sums.unbind(1), start=self._left):
            place = maps[:, self._top : self._top + high, strip * _STRIP :][..., :width]
            place.add_(sums[..., : place.shape[-1]])


class Room:
    """Where pieces of one head are written, to be added up.

    Args:
        memory: Zeros where nothing is written.
        sums: (h, strips, tall, W + strip - 1).
        starts: In the memory, of the rows of pieces, moved to where strips begin, in the order of places in the sums.
        bags: Of each place, the first of its rows.
    """

    def __init__(self, memory: Tensor, sums: Tensor, starts: Tensor, bags: Tensor) -> None:
        self._sums, self._starts, self._bags = sums, starts, bags
        width = sums.shape[-1]
        self._windows = memory.as_strided((len(memory) - width + 1, width), (1, 1))
        self._in_order = torch.arange(len(starts), dtype=torch.int32)
        self.pieces = memory[_STRIP - 1 :].view(-1, width)[:, : width - _STRIP + 1]
        """(N H, W), each row of which has zeros before and behind it."""

    def add(self, head: int) -> None:
        """Add what is there now to the sums of this head."""
        rows = self._windows.index_select(0, self._starts)
        sums = F.embedding_bag(self._in_order, rows, self._bags, mode="sum")
        self._sums[head].add_(sums.view_as(self._sums[head]))


def _range(places: Tensor) -> tuple[int, int]:
    least, greatest = places.aminmax()
    return int(least), int(greatest)
