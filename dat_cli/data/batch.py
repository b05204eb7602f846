"""What a loader gives to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

PADDING = -1
"""Label of an entry that only fills a batch up: processes that measure together need equal numbers of batches."""


class Batch(NamedTuple):
    """Some labelled pictures.

    Attributes:
        images: (B, C, H, W) float32.
        labels: (B,) int64, indices of classes, or ``PADDING``.
        names: What to call each picture: its path, or its shard and member; empty for padding.
    """

    images: Tensor
    labels: Tensor
    names: list[str]


class Item(NamedTuple):
    """One entry of a batch: a (C, H, W) tensor, its label and its name."""

    image: Tensor
    label: int
    name: str


def collate(items: Sequence[Item]) -> Batch:
    """A batch of single entries."""
    return Batch(
        default_collate([item.image for item in items]),  # a worker's lies at once where other processes read it
        torch.tensor([item.label for item in items]),
        [item.name for item in items],
    )


def padding(shape: tuple[int, ...]) -> Item:
    """An entry that counts for nothing, of a picture's (C, H, W)."""
    return Item(torch.zeros(shape), PADDING, "")
