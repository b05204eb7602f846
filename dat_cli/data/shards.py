"""WebDataset shards as a source: .tar files here or on a web server, by a pattern or with their index."""

from __future__ import annotations

from functools import partial

from dat_cli.catalog import Preprocessing
from dat_cli.data.remote_file import shown
from dat_cli.data.samples import Samples, Source
from dat_cli.data.shard_addresses import is_pattern, is_remote
from dat_cli.data.shard_index import INDEX
from dat_cli.data.shard_list import ShardList, by_pattern, count, in_folder, measure
from dat_cli.data.shard_stream import ShardStream
from dat_cli.data.stream import StreamOptions
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError

PREPROCESSING = Preprocessing(input_size=(3, 224, 224), crop_pct=0.875, crop_mode="center")
"""As the papers measure on ImageNet: who has shards has many pictures."""

_MOST_CLASSES = 1_000_000
_NO_SAMPLES = "leave out --data.samples"


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
    if train and train.is_exact and options.samples is not None:
        raise UsageError(f"{shown(source)} has an {INDEX} that says how many images there are", hint=_NO_SAMPLES)
    if classes is None:
        if train is None or val is None:
            lacking = "train on" if train is None else "validate on"
            hint = "pass --data.val_source, or a folder with train/ and val/ as `dat shard` writes it"
            raise DataError(f"{shown(source)} has no shards to {lacking}", hint=hint)
        train = _counted_to_train(train, source, options.samples)
        classes = train.classes or _classes_of(train, source)
    stream, name = partial(ShardStream, classes=classes), shown(source)
    to_train = partial(_counted_to_train, source=source, samples=options.samples)
    return Source(
        name=name,
        classes=classes,
        train=stream(f"{name} (train)", listed=train, counted=to_train) if train else Samples(),
        val=stream(f"{name} (val)", listed=val) if val else Samples(),
        test=stream(f"{name} (test)", listed=test) if test else None,
        preprocessing=PREPROCESSING,
        crop_scale=(0.08, 1.0),
        flip=0.5,
    )


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
        return measure(listed.shared_out(samples))
    if any(is_remote(shard.address) for shard in listed.shards):
        hint = "pass the number of training images as --data.samples"
        raise UsageError(f"{shown(source)} has no {INDEX} beside it that says how many images there are", hint=hint)
    return count(listed)


def _classes_of(listed: ShardList, source: str) -> tuple[str, ...]:
    """The classes that the labels of counted shards mean: names, or numbers from 0."""
    if not listed.labels:
        hint = "pass the names as --data.classes"
        raise UsageError(f"{shown(source)} has no {INDEX} beside it that names the classes", hint=hint)
    names = sorted(label for label in listed.labels if isinstance(label, str))
    numbers = [label for label in listed.labels if isinstance(label, int)]
    if names and numbers:
        name, number = printable(names[0])[:80], str(numbers[0])[:40]
        raise DataError(
            f"{shown(source)} has names of classes, as {name!r}, and numbers, as {number}",
            hint="pass the names, in the order of the numbers, as --data.classes",
        )
    if numbers:
        if min(numbers) < 0 or max(numbers) >= _MOST_CLASSES:
            wrong = min(numbers) if min(numbers) < 0 else max(numbers)
            raise DataError(f"{shown(source)} has a class of number {str(wrong)[:40]}", hint="number classes from 0")
        names = [str(number) for number in range(max(numbers) + 1)]
    if len(names) < 2:
        raise DataError(f"{shown(source)} has only one class", hint="a classifier needs at least two classes")
    return tuple(names)
