"""The pictures of one part of a data set in shards, read as they are wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain

from dat_cli.data.remote_file import shown
from dat_cli.data.shard_index import INDEX
from dat_cli.data.shard_labels import Labels, label_of
from dat_cli.data.shard_list import ShardList, count, open_shard
from dat_cli.data.stream import Record, Stream
from dat_cli.data.tar import EndedError, TarSample, read_samples
from dat_cli.data.walk import printable
from dat_cli.errors import DataError


class ShardStream(Stream):
    """Pictures in .tar files.

    Args:
        name: Where they lie.
        classes: Names of the classes.
        listed: The shards.
        counted: From them to the same with their numbers of pictures. It is asked when those are needed, because it
            can take long, and who measures does not train.

    Raises:
        DataError: The shards have a class that is not known.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        listed: ShardList,
        counted: Callable[[ShardList], ShardList] = count,
    ) -> None:
        super().__init__(name, classes)
        self.labels = Labels.of(classes, listed.classes, listed.labels, name)
        self._uncounted, self._counted = listed, counted

    @cached_property
    def listed(self) -> ShardList:
        """The shards with their numbers of pictures, which are ``samples`` together where not each is counted.

        Raises:
            DataError: A shard that has to be counted cannot be read.
            HubError: The web server refuses or is out of reach.
            UsageError: An option has to say how many there are.
        """
        return self._counted(self._uncounted)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Pictures in each shard."""
        return tuple(shard.samples or 0 for shard in self.listed.shards)

    @cached_property
    def mean_bytes(self) -> int:
        """Size of a picture with what belongs to it, by the shards whose size is known; 0 where none is."""
        known = [shard for shard in self.listed.shards if shard.bytes]
        return sum(shard.bytes for shard in known) // max(sum(shard.samples or 0 for shard in known), 1)

    @cached_property
    def class_counts(self) -> tuple[int, ...] | None:
        """Pictures of each class, where they are known."""
        if not self.listed.labels:
            return None
        counts: Counter[int | None] = Counter()
        for label, images in self.listed.labels.items():
            counts[self.labels.index(label)] += images
        return tuple(counts[index] for index in range(len(self.classes)))

    def read(self, shard: int, wanted: Iterator[int]) -> Iterator[tuple[int, Record]]:
        """Some pictures of a shard with their numbers in it.

        Where only the number of all pictures is known, a shard that ends early is read again from its beginning,
        and the one after it in place of one without pictures.

        Raises:
            DataError: The shard or a label is damaged, or the shard ends before the last of the pictures.
            HubError: The web server refuses or is out of reach.
        """
        shards, place, before = self.listed.shards, shard, 0
        while True:
            address, passed = shards[place].address, before
            name = shown(address)
            try:
                with open_shard(address) as file:
                    for sample in read_samples(file, name, wanted=(number - passed for number in wanted)):
                        yield passed + sample.number, self._record(sample, name)
            except EndedError as ended:
                following = place if ended.count else (place + 1) % len(shards)
                if self.listed.is_exact or (not ended.count and following == shard):
                    raise DataError(
                        f"{name} has {ended.count} images, {self.counts[shard]} were expected",
                        hint=f"it was changed or is incomplete; write or fetch it again, with its {INDEX}",
                    ) from None
                wanted = chain([passed + ended.wanted], wanted)
                place, before = following, passed + ended.count
            else:
                return

    def _record(self, sample: TarSample, shard: str) -> Record:
        name, label = f"{shard}/{printable(sample.member)[:200]}", label_of(sample, shard)
        index = self.labels.index(label)
        if index is None:
            raise DataError(
                f"the label of {name} is {printable(str(label))[:80]!r}, which is none of {len(self.classes)} classes",
                hint=f"correct the classes in {INDEX}, or data.classes",
            )
        return Record(name, sample.image, index)
