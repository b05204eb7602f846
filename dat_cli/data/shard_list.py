"""Which shards a pattern or a folder means, and how many pictures each has."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from dat_cli.data.remote_file import RemoteFile, fetch, shown
from dat_cli.data.shard_addresses import expand, is_remote, joined, parted
from dat_cli.data.shard_index import INDEX, LARGEST, ShardIndex, parse_index
from dat_cli.data.shard_labels import Label, label_of
from dat_cli.data.tar import Readable, read_samples
from dat_cli.errors import DataError

_SECONDS_BETWEEN_LINES = 30.0

_log = logging.getLogger("dat.data")


@dataclass(frozen=True)
class ShardFile:
    """A shard: where it lies, its pictures (None: not known) and its bytes (0: not known)."""

    address: str
    samples: int | None = None
    bytes: int = 0


@dataclass(frozen=True)
class ShardList:
    """The shards of one part of a data set.

    Attributes:
        shards: In order.
        classes: What the numbers in labels mean; None where no index says so.
        labels: How many pictures each label of the files has, where that is known.
        is_shared_out: Whether the pictures of each shard are only guessed from their sum.
    """

    shards: tuple[ShardFile, ...]
    classes: tuple[str, ...] | None = None
    labels: Counter[Label] | None = None
    is_shared_out: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the pictures of each shard are known."""
        return not self.is_shared_out and all(shard.samples is not None for shard in self.shards)

    def shared_out(self, samples: int) -> ShardList:
        """The same, where only the number of all pictures is known: each shard is taken to have as many."""
        each, more = divmod(samples, len(self.shards))
        shards = (replace(shard, samples=each + (place < more)) for place, shard in enumerate(self.shards))
        return replace(self, shards=tuple(shards), is_shared_out=True)


def has_index(source: str) -> bool:
    """Whether it is a folder here that ``dat shard`` has written, or a part of one."""
    try:
        root = Path(source).expanduser()
        folders = (root, *(root / part for part in ("train", "val", "test")))
        return any((folder / INDEX).is_file() and any(folder.glob("*.tar")) for folder in folders)
    except (OSError, ValueError, RuntimeError):  # no path at all, which others say better
        return False


def in_folder(folder: str) -> ShardList | None:
    """The shards of a folder, here or on a web server, by its index; None where it has none.

    Raises:
        DataError: The index is not as it should be, or a shard is not what it says.
        HubError: The web server refuses or is out of reach.
    """
    index = _index_of(folder)
    if index is None:
        return None
    shards = tuple(
        ShardFile(joined(folder, shard.name), shard.samples, shard.bytes) for shard in index.shards if shard.samples
    )
    return ShardList(tuple(map(_check_file, shards)), index.classes, _labels(index))


def by_pattern(source: str) -> ShardList:
    """The shards that a pattern names, with what an ``index.json`` beside them says.

    Args:
        source: Addresses that end in .tar, with commas between them and ranges in braces, as in
            ``train-{000000..000099}.tar``.

    Raises:
        DataError: The pattern is none, a shard is missing, or an index is not as it should be.
        HubError: A web server refuses or is out of reach.
    """
    shards, classes, listed = list[ShardFile](), dict[str, tuple[str, ...]](), dict[str, dict[str, ShardFile]]()
    for address in expand(source):
        folder, name = parted(address)
        if folder not in listed:
            index = _index_of(folder)
            listed[folder] = _by_name(index) if index else {}
            classes |= {folder: index.classes} if index else {}
        known = listed[folder].get(name)
        shards.append(_check_file(replace(known, address=address) if known else ShardFile(address)))
    return ShardList(tuple(shards), _one(classes))


def count(listed: ShardList) -> ShardList:
    """The same with the pictures of each shard, which are counted where they are not known.

    Here only headers and labels are read; what comes from a web server passes by whole.

    Raises:
        DataError: A shard cannot be read, or a picture has no label.
        HubError: The web server refuses or is out of reach.
    """
    if listed.is_exact:
        return listed
    start = last_line = monotonic()
    shards, labels = [], Counter[Label]()
    for done, shard in enumerate(listed.shards):
        if monotonic() - last_line > _SECONDS_BETWEEN_LINES:
            last_line = monotonic()
            _log.info("counted images in %d of %d shards", done, len(listed.shards))
        name = shown(shard.address)
        with open_shard(shard.address) as file:
            found = Counter(label_of(sample, name) for sample in read_samples(file, name, images=False))
        labels += found
        shards.append(replace(shard, samples=sum(found.values())))
    total = sum(labels.values())
    _log.info("counted %d images in %d shards in %.1f s", total, len(shards), monotonic() - start)
    return replace(listed, shards=tuple(shard for shard in shards if shard.samples), labels=labels)


def measure(listed: ShardList) -> ShardList:
    """The same with the size of the first shard, which tells about how large pictures are.

    Raises:
        HubError: The web server refuses or is out of reach.
    """
    first, *others = listed.shards
    if first.bytes or not is_remote(first.address):
        return listed
    with closing(RemoteFile(first.address)) as remote:
        return replace(listed, shards=(replace(first, bytes=remote.size() or 0), *others))


@contextmanager
def open_shard(address: str) -> Iterator[Readable]:
    """A shard to read from its beginning.

    Raises:
        DataError: It cannot be opened; names it.
    """
    if is_remote(address):
        with closing(RemoteFile(address)) as remote:
            yield remote
        return
    try:
        file = Path(address).expanduser().open("rb")
    except OSError as error:
        raise _unreadable(address, error) from error
    with file:
        yield file


def _check_file(shard: ShardFile) -> ShardFile:
    if is_remote(shard.address):
        return shard
    path = Path(shard.address).expanduser()
    try:
        size = path.stat().st_size
    except OSError as error:
        raise _unreadable(shard.address, error) from error
    if not path.is_file():
        raise DataError(f"{shown(shard.address)} is no file", hint="a shard is a .tar")
    if shard.samples is not None and size != shard.bytes:
        raise DataError(
            f"{shown(shard.address)} has {size} bytes, its {INDEX} says {shard.bytes}",
            hint="it was changed or is incomplete; write or fetch it again",
        )
    return replace(shard, bytes=size)


def _index_of(folder: str) -> ShardIndex | None:
    place = joined(folder, INDEX)
    if is_remote(folder):
        data = fetch(place, limit=LARGEST)
    else:
        path = Path(place).expanduser()
        if not path.is_file():
            return None
        try:
            if path.stat().st_size > LARGEST:
                raise DataError(f"{shown(place)} has more than {LARGEST} bytes", hint="let `dat shard` write it")
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(place, error) from error
    return None if data is None else parse_index(data, shown(place))


def _labels(index: ShardIndex) -> Counter[Label] | None:
    if index.class_counts is None:
        return None
    return Counter(dict(enumerate(index.class_counts)))


def _one(classes: dict[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The classes of all folders, in which a number has to mean the same; None where no index names them."""
    first = next(iter(classes), None)
    if first is None:
        return None
    other = next((folder for folder, names in classes.items() if names != classes[first]), None)
    if other is not None:
        raise DataError(
            f"{shown(joined(first, INDEX))} and {shown(joined(other, INDEX))} name other classes, or in another order",
            hint="a number would mean two classes; write the shards again with `dat shard`, from one folder",
        )
    return classes[first]


def _by_name(index: ShardIndex) -> dict[str, ShardFile]:
    return {shard.name: ShardFile(shard.name, shard.samples, shard.bytes) for shard in index.shards}


def _unreadable(address: str, error: OSError) -> DataError:
    reason = (error.strerror or str(error)).lower()
    return DataError(f"cannot read {shown(address)}: {reason}", hint="check that it exists and its permissions")
