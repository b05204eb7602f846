"""Mix a sequence that is too long to hold, by numbers alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from random import Random


class Shuffle:
    """Draws the numbers 0, 1, ... ``count`` - 1, each once, from a pool that is refilled in order.

    Only numbers are held, so that what was drawn before a run was interrupted is drawn again without reading it, and
    what need not be read is known.

    Args:
        count: How many numbers there are.
        size: Of the pool; 1 leaves the order as it is.
        random: Where chance comes from.
    """

    def __init__(self, count: int, size: int, random: Random) -> None:
        self.count = count
        self._pool = list(range(min(size, count)))
        self._next = len(self._pool)
        self._random = random

    def __len__(self) -> int:
        return len(self._pool) + self.count - self._next

    def draw(self) -> int:
        """The next number.

        Raises:
            IndexError: All have been drawn.
        """
        place = int(self._random.random() * len(self._pool))
        drawn = self._pool[place]
        if self._next < self.count:
            self._pool[place] = self._next
            self._next += 1
        else:
            self._pool[place] = self._pool[-1]
            self._pool.pop()
        return drawn

    def left(self) -> Iterator[int]:
        """The numbers that are not drawn yet, in order."""
        return chain(sorted(self._pool), range(self._next, self.count))
