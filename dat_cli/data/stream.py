"""Labelled pictures that are read one after another from large files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


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


class Record(NamedTuple):
    """One picture as it lies in a shard.

    Attributes:
        name: Its shard and what it is called there.
        image: The file's bytes.
        label: Index of its class.
    """

    name: str
    image: bytes
    label: int


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
