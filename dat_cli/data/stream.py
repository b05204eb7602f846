"""Labelled pictures that are read one after another from large files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from dat_cli.data.stream_batches import Record, StreamBatches
from dat_cli.data.transforms import Transform

__all__ = ["Record", "Stream", "StreamBatches", "StreamOptions"]


@dataclass(frozen=True)
class StreamOptions:
    """What a stream cannot say about itself.

    Attributes:
        val_source: Shards of the validation part, where ``data.source`` names shards themselves; of a data set of the
            Hub, its split.
        samples: How many pictures there are to train on, where no index says so.
        image_column: Column of the pictures in a data set of the Hub; by default the only one of such a type.
        label_column: Column of the labels there; by default the only one of such a type.
    """

    val_source: str | None = None
    samples: int | None = None
    image_column: str | None = None
    label_column: str | None = None


class Stream(ABC):
    """Labelled pictures in shards.

    Args:
        name: Where they lie.
        classes: Names of the classes; labels are indices into it.
    """

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        self.name = name
        self.classes = classes

    @property
    @abstractmethod
    def counts(self) -> tuple[int, ...]:
        """Pictures in each shard."""

    @property
    @abstractmethod
    def mean_bytes(self) -> int:
        """Size of a picture, about; 0 where it is not known."""

    @property
    def class_counts(self) -> tuple[int, ...] | None:
        """Pictures of each class, where they are known."""
        return None

    def __len__(self) -> int:
        return sum(self.counts)

    @abstractmethod
    def read(self, shard: int, wanted: Iterator[int]) -> Iterator[tuple[int, Record]]:
        """Some pictures of a shard with their numbers in it.

        Args:
            shard: Its number.
            wanted: Numbers of the pictures, ascending; not empty.

        Raises:
            DataError: The shard cannot be read, or ends before the last of them.
        """

    def dataset(
        self,
        transform: Transform,
        *,
        batch_size: int,
        rank: int,
        world: int,
        workers: int,
        seed: int,
        train: bool,
        skip_damaged: bool = False,
    ) -> StreamBatches:
        """The batches of one process; see ``StreamBatches``."""
        return StreamBatches(
            self,
            transform,
            batch_size=batch_size,
            rank=rank,
            world=world,
            workers=workers,
            seed=seed,
            train=train,
            skip_damaged=skip_damaged,
        )
