"""Which pictures of a stream make which batch, in training and in evaluation, with one process or many.

The shards of a stream in the order of an epoch are one long row of pictures. Each process, and in it each worker that
loads, takes a part of the row that is known before anything is read: hence the length of an epoch, equal numbers of
batches everywhere, and a run that goes on in the middle of an epoch without reading what is done.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from itertools import accumulate, groupby
from random import Random

import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from dat_cli.data.batch import Batch, Item, collate, padding
from dat_cli.data.dataset import UnreadableImageError
from dat_cli.data.randomness import seed_of, seeded
from dat_cli.data.shuffle import Shuffle
from dat_cli.data.stream import Record, Stream
from dat_cli.data.transforms import Transform, read
from dat_cli.errors import DataError

_POOL_COUNT = 1024  # pictures that a worker mixes
_POOL_BYTES = 128 << 20  # and no more than this, where pictures are large
_UNKNOWN_BYTES = 1 << 20  # of a picture, where nothing says how large they are
_LINES = 10  # of damaged pictures are named for each worker; a log must not fill a disk

_log = logging.getLogger("dat.data")


class StreamBatches(IterableDataset[Batch]):
    """Whole batches of one process, for a loader with ``batch_size=None``.

    In training all processes have equally many batches, all of them full; the last pictures of the epoch's order, too
    few for a step of all processes, wait for another epoch. In evaluation every picture comes once, each process has
    equally many batches of one size, and what lacks is padding.

    Args:
        stream: The pictures.
        transform: From a picture to a (C, H, W) tensor; what is random in it depends on the seed, the epoch and the
            picture's place in the epoch alone.
        batch_size: Pictures in a batch.
        rank: Number of this process.
        world: How many processes work together.
        workers: Worker processes of the loader. With as many as before, a run that goes on gets the same batches.
        seed: Of order and transform.
        train: Mix the pictures, or take them as they lie.
        skip_damaged: Leave a damaged picture out with a warning: in training another of its batch comes twice (or
            another of the epoch, where all of a batch are damaged), in evaluation padding stands in its place.

    Raises:
        DataError: There are fewer pictures to train on than processes.
    """

    def __init__(
        self,
        stream: Stream,
        transform: Transform,
        *,
        batch_size: int,
        rank: int,
        world: int,
        workers: int,
        seed: int,
        train: bool,
        skip_damaged: bool = False,
    ) -> None:
        super().__init__()
        count = len(stream)
        if train and count < world:
            raise DataError(f"{count} training images for {world} processes", hint="lower --trainer.devices")
        self.stream, self.transform = stream, transform
        self.batch_size = min(batch_size, count // world) if train else batch_size
        self.seed, self.train, self.skip_damaged = seed, train, skip_damaged
        self.rank, self.workers = rank, max(workers, 1)
        if train:
            self._batches = count // (self.batch_size * world)
            self._first = rank * self._batches * self.batch_size
            self._stop = self._first + self._batches * self.batch_size
        else:
            self._batches = -(-count // (batch_size * world))
            self._first, self._stop = rank * count // world, (rank + 1) * count // world
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()  # workers that stay keep a copy of all else

    def begin(self, epoch: int, start: int) -> None:
        """Iterate next over this epoch, from this batch on; evaluation is the same in every epoch, and always whole."""
        if self.train:
            self._place.copy_(torch.tensor([epoch, start]))

    def __len__(self) -> int:
        """Batches of this process in a whole epoch."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the start on, of the worker that asks; a loader takes one from each worker in turn."""
        epoch, start = (int(number) for number in self._place)
        worker = get_worker_info()
        if worker is not None:
            return self._of_reader((start + worker.id) % self.workers, epoch, start)
        readers = [self._of_reader(reader, epoch, start) for reader in range(self.workers)]
        return (next(readers[batch % self.workers]) for batch in range(start, self._batches))

    def _of_reader(self, reader: int, epoch: int, start: int) -> Iterator[Batch]:
        """Batches ``reader``, ``reader + workers``, ... of the process, without those before ``start``."""
        first, count = self._part_of(reader)
        pool = _pool_size(self.stream.mean_bytes) if self.train else 1
        shuffle = Shuffle(count, pool, Random(seed_of(self.seed, "shuffle", epoch, self.rank, reader)))  # noqa: S311
        done = len(range(reader, start, self.workers))
        for _ in range(done * self.batch_size):
            shuffle.draw()
        records = self._read(epoch, (first + number for number in shuffle.left()))
        held: dict[int, Record] = {}
        damaged, spare = _Damaged(self.skip_damaged), None
        try:
            for _ in range(reader + done * self.workers, self._batches, self.workers):
                items: list[Item | None] = []
                for _ in range(min(self.batch_size, len(shuffle))):
                    number = first + shuffle.draw()
                    while number not in held:
                        position, record = next(records)
                        held[position] = record
                    items.append(self._item(held.pop(number), seed_of(self.seed, epoch, number), damaged))
                if self.train and not any(items):
                    items[0] = spare = spare or self._first_whole(epoch, range(first, first + count))
                yield self._batch(items)
        finally:
            damaged.tell(self.stream.name)

    def _part_of(self, reader: int) -> tuple[int, int]:
        """Where a reader's part of the epoch's row begins, and how many pictures it has."""
        before = sum(len(range(other, self._batches, self.workers)) for other in range(reader))
        own = len(range(reader, self._batches, self.workers))
        first = min(self._first + before * self.batch_size, self._stop)
        return first, min(own * self.batch_size, self._stop - first)

    def _read(self, epoch: int, wanted: Iterator[int]) -> Iterator[tuple[int, Record]]:
        """Pictures with their positions in the epoch's row, which are wanted in ascending order."""
        order = list(range(len(self.stream.counts)))
        if self.train:
            Random(seed_of(self.seed, "shards", epoch)).shuffle(order)  # noqa: S311 - no secret
        starts = list(accumulate((self.stream.counts[shard] for shard in order), initial=0))
        for place, positions in groupby(wanted, lambda position: bisect_right(starts, position) - 1):
            numbers = (position - starts[place] for position in positions)
            for number, record in self.stream.read(order[place], numbers):
                yield starts[place] + number, record

    def _item(self, record: Record, seed: int, damaged: _Damaged) -> Item | None:
        try:
            with seeded(seed):
                return Item(read(BytesIO(record.image), self.transform, record.name), record.label, record.name)
        except DataError as error:
            damaged.note(error)
            return None

    def _first_whole(self, epoch: int, part: range) -> Item:
        """What stands for a batch of damaged pictures: not the last good one, which a run that goes on has not read."""
        for number, record in self._read(epoch, iter(part)):
            item = self._item(record, seed_of(self.seed, epoch, number), _Damaged(skip=True, lines=0))
            if item is not None:
                return item
        raise DataError(
            f"{len(part)} images of {self.stream.name} one after another are damaged",
            hint="the log names some of them; replace them",
        )

    def _batch(self, items: list[Item | None]) -> Batch:
        """A batch of the batch's size, whatever lacks."""
        whole = [item for item in items if item is not None]
        if self.train:
            return collate([item or whole[place % len(whole)] for place, item in enumerate(items)])
        empty = padding(tuple((whole[0].image if whole else self.transform(Image.new("RGB", (64, 64)))).shape))
        return collate([item or empty for item in items] + [empty] * (self.batch_size - len(items)))


class _Damaged:
    """The damaged pictures that one reader has met in an epoch."""

    def __init__(self, skip: bool, lines: int = _LINES) -> None:
        self.skip, self.lines, self.count = skip, lines, 0

    def note(self, error: DataError) -> None:
        if not self.skip:
            hint = "; replace it, or leave such images out with --data.damaged skip"
            raise UnreadableImageError(error.message + hint) from error
        self.count += 1
        if self.count <= self.lines:
            _log.warning("%s", error.message)

    def tell(self, name: str) -> None:
        if self.count:
            _log.warning("left out %d damaged images of %s", self.count, name)


def _pool_size(mean_bytes: int) -> int:
    return max(1, min(_POOL_COUNT, _POOL_BYTES // (mean_bytes or _UNKNOWN_BYTES)))
