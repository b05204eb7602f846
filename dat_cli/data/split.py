"""Divide the pictures of each class in two, the same way on every machine."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from math import floor


def split_by_class(
    names: Sequence[str], labels: Sequence[int], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of (kept, held out): of each class about ``fraction`` is held out.

    A hash of the seed and the name decides, not a generator of random numbers: the result does not depend on the
    order of the pictures, the place of the folder, or versions of Python.

    Args:
        names: A name of each picture, its own in the whole data set.
        labels: The class of each.
        fraction: In (0, 1): each class keeps at least one picture, and from two pictures on holds out at least
            one. 1 holds out everything.
        seed: Another seed, another split.
    """
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_class[label].append(index)
    held_out: set[int] = set()
    for indices in by_class.values():
        ranked = sorted(indices, key=lambda index: _rank(names[index], seed))
        held_out.update(ranked[: _size(len(ranked), fraction)])
    everything = range(len(names))
    return [i for i in everything if i not in held_out], [i for i in everything if i in held_out]


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/".encode() + os.fsencode(name)).digest()


def _size(count: int, fraction: float) -> int:
    if fraction == 1:
        return count
    return min(max(floor(count * fraction + 0.5), 1), count - 1)
