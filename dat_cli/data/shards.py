"""WebDataset shards as a source: .tar files here or on a web server, by a pattern or with their index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from dat_cli.catalog import Preprocessing
from dat_cli.data.remote_file import shown
from dat_cli.data.samples import Samples, Source
from dat_cli.data.shard_addresses import is_pattern, is_remote
from dat_cli.data.shard_index import INDEX
from dat_cli.data.shard_list import ShardList, by_pattern, count, in_folder, open_shard
from dat_cli.data.stream import Record, Stream, StreamOptions
from dat_cli.data.tar import EndedError, TarSample, label_of, read_samples
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError

PREPROCESSING = Preprocessing(input_size=(3, 224, 224), crop_pct=0.875, crop_mode="center")
"""As the papers measure on ImageNet: who has shards has many pictures."""

_MOST_CLASSES = 1_000_000


def open_shards(source: str, *, options: StreamOptions, classes: tuple[str, ...] | None = None) -> Source:
    """The pictures of shards; see ``sources.open_source``.

    Args:
        source: Addresses of shards, or a folder or an address below which ``dat shard`` has written train/ and val/.
        options: Where the validation part is, and how many pictures there are where nothing says so.
        classes: Names that labels are indices into, of weights that are measured.

    Raises:
        DataError: A shard or an index is not as it should be; names it.
        HubError: A web server refuses or is out of reach.
        UsageError: Something is not known that an option has to say.
    """
    listed = _parts(source, options.val_source)
    train, val, test = (listed.get(part) for part in ("train", "val", "test"))
    if train is not None:
        train = _counted_to_train(train, source, options.samples)
    if classes is None:
        if train is None or val is None:
            lacking = "train on" if train is None else "validate on"
            hint = "pass --data.val_source, or a folder with train/ and val/ as `dat shard` writes it"
            raise DataError(f"{shown(source)} has no shards to {lacking}", hint=hint)
        classes = train.classes or _classes_of(train, source)
    return Source(
        name=shown(source),
        classes=classes,
        train=_stream(train, classes, f"{shown(source)} (train)") if train else Samples(),
        val=_stream(count(val), classes, f"{shown(source)} (val)") if val else Samples(),
        test=_stream(count(test), classes, f"{shown(source)} (test)") if test else None,
        preprocessing=PREPROCESSING,
        crop_scale=(0.08, 1.0),
        flip=0.5,
    )


class ShardStream(Stream):
    """Pictures in .tar files.

    Args:
        name: Where they lie.
        classes: Names of the classes.
        listed: The shards. Where not each is counted, their pictures are ``samples`` together.
        labels: Index of the class that each label in the files means.
        class_counts: Pictures of each class, where they are known.
    """

    def __init__(
        self,
        name: str,
        classes: tuple[str, ...],
        listed: ShardList,
        labels: Mapping[str, int],
        *,
        class_counts: tuple[int, ...] | None = None,
    ) -> None:
        counts = [shard.samples or 0 for shard in listed.shards]
        mean = sum(shard.bytes for shard in listed.shards) // max(sum(counts), 1)
        super().__init__(name, classes, counts, mean_bytes=mean, class_counts=class_counts)
        self.addresses = tuple(shard.address for shard in listed.shards)
        self.labels = labels
        self.is_exact = listed.is_exact

    def read(self, shard: int, wanted: Iterator[int]) -> Iterator[tuple[int, Record]]:
        """Some pictures of a shard with their numbers in it.

        Where only the number of all pictures is known, a shard that ends early is read again from its beginning.

        Raises:
            DataError: The shard or a label is damaged, or the shard ends before the last of the pictures.
            HubError: The web server refuses or is out of reach.
        """
        name, before = shown(self.addresses[shard]), 0
        while True:
            passed = before
            try:
                with open_shard(self.addresses[shard]) as file:
                    for sample in read_samples(file, name, wanted=(number - passed for number in wanted)):
                        yield passed + sample.number, self._record(sample, name)
            except EndedError as ended:
                if self.is_exact or not ended.count:
                    raise DataError(
                        f"{name} has {ended.count} images, {self.counts[shard]} were expected",
                        hint=f"it was changed or is incomplete; write or fetch it again, with its {INDEX}",
                    ) from None
                wanted = chain([passed + ended.wanted], wanted)
                before = passed + ended.count
            else:
                return

    def _record(self, sample: TarSample, shard: str) -> Record:
        name, label = f"{shard}/{printable(sample.member)[:200]}", label_of(sample, shard)
        if label not in self.labels:
            raise DataError(
                f"the label of {name} is {printable(label)[:80]!r}, which is none of {len(self.classes)} classes",
                hint=f"correct the classes in {INDEX}, or data.classes",
            )
        return Record(name, sample.image, self.labels[label])


def _parts(source: str, val_source: str | None) -> dict[str, ShardList]:
    """The shards of each part that there is."""
    if is_pattern(source):
        parts = {"train": by_pattern(source)}
    else:
        found = {part: in_folder(f"{source.rstrip('/')}/{part}") for part in ("train", "val", "test")}
        parts = {part: listed for part, listed in found.items() if listed is not None}
        if not parts and (alone := in_folder(source)):
            parts = {"train": alone}
        if not parts:
            raise DataError(
                f"{shown(source)} has no {INDEX} in train/ or val/",
                hint="name the shards themselves, as in https://host/train-{000000..000099}.tar",
            )
    if val_source:
        alone = by_pattern(val_source) if is_pattern(val_source) else in_folder(val_source)
        if alone is None:
            raise DataError(f"data.val_source {shown(val_source)} has no {INDEX}", hint="name the shards themselves")
        parts["val"] = alone
    return parts


def _counted_to_train(listed: ShardList, source: str, samples: int | None) -> ShardList:
    if listed.is_exact:
        return listed
    if samples is not None:
        return listed.shared_out(samples)
    if any(is_remote(shard.address) for shard in listed.shards):
        hint = "pass the number of training images as --data.samples"
        raise UsageError(f"{shown(source)} has no {INDEX} beside it that says how many images there are", hint=hint)
    return count(listed)


def _classes_of(listed: ShardList, source: str) -> tuple[str, ...]:
    """The classes that the labels of counted shards mean: names, or numbers from 0."""
    if not listed.labels:
        hint = "pass the names as --data.classes"
        raise UsageError(f"{shown(source)} has no {INDEX} beside it that names the classes", hint=hint)
    names = sorted(listed.labels)
    if all(name.isdecimal() for name in names):
        largest = max(map(int, names))
        if largest >= _MOST_CLASSES:
            raise DataError(f"{shown(source)} has a class of number {largest}", hint="number classes from 0")
        names = [str(label) for label in range(largest + 1)]
    if len(names) < 2:
        raise DataError(f"{shown(source)} has only one class", hint="a classifier needs at least two classes")
    return tuple(names)


def _stream(listed: ShardList, classes: tuple[str, ...], name: str) -> ShardStream:
    labels = _meanings(listed, classes, name)
    counts: Counter[int] = Counter()
    for label, images in (listed.labels or {}).items():
        if images and label in labels:
            counts[labels[label]] += images
    known = tuple(counts[label] for label in range(len(classes))) if listed.labels else None
    return ShardStream(name, classes, listed, labels, class_counts=known)


def _meanings(listed: ShardList, classes: tuple[str, ...], name: str) -> dict[str, int]:
    """Index of the class that a label means: a name, or a number of the index beside the shards."""
    index = {known: label for label, known in enumerate(classes)}
    own = listed.classes or classes
    unknown = [
        given
        for label, given in enumerate(own)
        if given not in index and (listed.labels is None or listed.labels[str(label)])
    ]
    if unknown:
        raise DataError(
            f"{name} has a class that the others lack: {', '.join(map(printable, unknown[:5]))}",
            hint=f"known are {', '.join(map(printable, classes[:10]))}",
        )
    numbers = {str(label): index[given] for label, given in enumerate(own) if given in index}
    return {**index, **numbers}
