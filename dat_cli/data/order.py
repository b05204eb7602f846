"""Which pictures make which batch, in training and in evaluation, with one process or many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dat_cli.data.randomness import seed_of
from dat_cli.errors import DataError

Sampling = Literal["uniform", "balanced"]

NOTHING = -1
"""In place of a picture, an entry that only fills a batch up."""


class Draw(NamedTuple):
    """One picture of a batch: which one, and the seed of its augmentation."""

    sample: int
    seed: int


@dataclass(frozen=True)
class Share:
    """Which of the processes that work together this one is."""

    rank: int = 0
    world: int = 1


class TrainingOrder:
    """Batches of one process in the order of an epoch, which depends on the seed and the epoch alone.

    A step takes the next ``batch_size * world`` pictures of the order, so that two processes see together what one
    process with twice the batch sees. The last pictures, too few for a step, wait for another epoch.

    Args:
        labels: The class of each picture.
        batch_size: Pictures in a batch of one process.
        seed: Of the order.
        share: This process.
        sampling: ``uniform`` takes each picture once an epoch; ``balanced`` draws each class equally often, and a
            picture of a small class several times.

    Raises:
        DataError: There are fewer pictures than processes.
    """

    def __init__(
        self, labels: Sequence[int], batch_size: int, *, seed: int, share: Share, sampling: Sampling = "uniform"
    ) -> None:
        if len(labels) < share.world:
            raise DataError(
                f"{len(labels)} training images for {share.world} processes", hint="lower --trainer.devices"
            )
        self.labels = labels
        self.batch_size = min(batch_size, len(labels) // share.world)
        self.seed = seed
        self.share = share
        self.sampling = sampling
        self._epoch = self._start = 0

    def begin(self, epoch: int, start: int) -> None:
        """Iterate next over this epoch, from this batch on."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        """Batches of this process in a whole epoch."""
        return len(self.labels) // (self.batch_size * self.share.world)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches from the start on."""
        order = self._order().tolist()
        for batch in range(self._start, len(self)):
            first = (batch * self.share.world + self.share.rank) * self.batch_size
            places = range(first, first + self.batch_size)
            yield [Draw(order[place], seed_of(self.seed, self._epoch, place)) for place in places]

    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self._epoch))
        count = len(self.labels)
        if self.sampling == "uniform":
            return torch.randperm(count, generator=generator)
        by_class = torch.tensor(self.labels).argsort(stable=True)
        sizes = torch.bincount(torch.tensor(self.labels))
        starts = sizes.cumsum(0) - sizes
        present = sizes.nonzero().flatten()
        classes = present[torch.randint(len(present), (count,), generator=generator)]
        within = (torch.rand(count, generator=generator, dtype=torch.float64) * sizes[classes]).long()
        return by_class[starts[classes] + within]


class EvaluationOrder:
    """Batches of one process in the order of the pictures; together the processes take each picture once.

    All processes have equally many batches of equal sizes, as sharded networks need: what lacks is ``NOTHING``.

    Args:
        count: Number of pictures.
        batch_size: Pictures in a batch of one process.
        share: This process.
    """

    def __init__(self, count: int, batch_size: int, *, share: Share) -> None:
        self.count = count
        self.batch_size = batch_size
        self.share = share

    def begin(self, epoch: int, start: int) -> None:
        """Every epoch is the same, and always whole."""

    def __len__(self) -> int:
        """Batches of this process."""
        return -(-self._each // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches."""
        mine = list(range(self.share.rank, self.count, self.share.world))
        mine += [NOTHING] * (self._each - len(mine))
        for first in range(0, self._each, self.batch_size):
            yield [Draw(index, 0) for index in mine[first : first + self.batch_size]]

    @property
    def _each(self) -> int:
        return -(-self.count // self.share.world)
