"""PyTorch's loader, that knows where in which epoch a run stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader

from dat_cli.data.batch import Batch
from dat_cli.data.workers import outlive_signals

Position = Callable[[], tuple[int, int]]
"""The epoch, and how many of its batches are done."""


class Order(Protocol):
    """What decides on the batches of an epoch: a batch sampler, or a stream."""

    def begin(self, epoch: int, start: int) -> None:
        """Iterate next over this epoch, from this batch on."""

    def __len__(self) -> int:
        """Batches of a whole epoch."""


class EpochLoader(DataLoader[Batch]):
    """A loader that begins each epoch where the run stands.

    Its length is always that of a whole epoch: Lightning counts the batches that a resumed epoch has done as fetched.

    Args:
        dataset: The pictures.
        order: What decides on the batches.
        position: Where the run stands.
        options: As of ``DataLoader``.
    """

    def __init__(self, dataset: Any, *, order: Order, position: Position, **options: Any) -> None:
        super().__init__(dataset, worker_init_fn=outlive_signals, **options)
        self.order = order
        self.position = position

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # typed as a class that is PyTorch's own
        """The batches that are left of the epoch.

        The run is asked where it stands for the first batch, not before: Lightning makes an iterator when it counts
        the steps of a run, and reads the checkpoint after that.
        """
        self.order.begin(*self.position())
        yield from super().__iter__()
