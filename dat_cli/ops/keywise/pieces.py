"""Pieces of a map that overlap, added up where they were taken from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

_TOGETHER = 16  # columns of a map in which pieces may begin and are added up as one


class Pieces:
    """The sum of all pieces, for each head.

    Rows of pieces that fall on the same row of the map, and begin within the same few columns, are brought to the
    same beginning and added up; only then those sums, which are few, are added to where they overlap.

    Args:
        heads: h.
        rows: Where pieces begin, (N,), of 0 or more; int32.
        columns: The same.
        high: H, of the highest piece.
        wide: W, of each piece.
    """

    def __init__(self, heads: int, rows: Tensor, columns: Tensor, high: int, wide: int) -> None:
        (self._top, bottom), (left, right) = (_range(first) for first in (rows, columns))
        self._left, strips = left // _TOGETHER, right // _TOGETHER - left // _TOGETHER + 1
        self._sums = torch.zeros(heads, strips, bottom - self._top + high, wide + _TOGETHER - 1)
        self._memory = torch.zeros(0)

    def room(self, rows: Tensor, columns: Tensor, high: int) -> Room:
        """For pieces of one head that begin there, (N,)."""
        (top, bottom), width = _range(rows), self._sums.shape[-1]
        strip, beyond = columns // _TOGETHER - self._left, columns % _TOGETHER
        of_pieces = torch.arange(high, dtype=torch.int32)
        tall = bottom - top + high
        places, order = ((strip * tall + rows - top)[:, None] + of_pieces).flatten().sort(stable=True)
        starts = torch.arange(len(places), dtype=torch.int32).view(-1, high) * width - beyond[:, None]
        counts = places.bincount(minlength=self._sums.shape[1] * tall)
        size = _TOGETHER - 1 + len(places) * width
        if len(self._memory) != size:
            self._memory = torch.zeros(size)
        sums = self._sums[:, :, top - self._top :][:, :, :tall]
        return Room(self._memory, sums, starts.flatten()[order] + (_TOGETHER - 1), counts.cumsum(0) - counts)

    def add_to(self, maps: Tensor) -> None:
        """Add the sums to (h, H', W')."""
        high, width = self._sums.shape[2:]
        for strip, sums in enumerate(self._sums.unbind(1), start=self._left):
            place = maps[:, self._top : self._top + high, strip * _TOGETHER :][..., :width]
            place.add_(sums[..., : place.shape[-1]])


class Room:
    """Where one head's pieces are written before they are added up."""

    def __init__(self, memory: Tensor, sums: Tensor, starts: Tensor, bags: Tensor) -> None:
        self._sums, self._starts, self._bags = sums, starts, bags.int()
        width = sums.shape[-1]
        self._windows = memory.as_strided((len(memory) - width + 1, width), (1, 1))
        self._in_order = torch.arange(len(starts), dtype=torch.int32)
        self.pieces = memory[_TOGETHER - 1 :].view(-1, width)[:, : width - _TOGETHER + 1]
        """(N H, W), between zeros."""

    def add(self, head: int) -> None:
        """Add what is there now to the sums of this head."""
        rows = self._windows.index_select(0, self._starts)
        sums = F.embedding_bag(self._in_order, rows, self._bags, mode="sum")
        self._sums[head].add_(sums.view_as(self._sums[head]))


def _range(places: Tensor) -> tuple[int, int]:
    least, greatest = places.aminmax()
    return int(least), int(greatest)
