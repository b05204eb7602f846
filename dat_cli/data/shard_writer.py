"""Write labelled pictures as WebDataset shards, which ``data.shards`` and the library webdataset read."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import BinaryIO

from dat_cli.data.samples import Samples
from dat_cli.data.shard_index import INDEX, Shard, ShardIndex
from dat_cli.data.walk import printable
from dat_cli.errors import DataError

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class ShardSize:
    """When a shard is full: at so many bytes, or at so many pictures."""

    bytes: int | None = None
    samples: int | None = None

    def is_exceeded(self, size: int, samples: int) -> bool:
        """Whether a shard of so many bytes and pictures is too large; one picture never is."""
        too_many = self.samples is not None and samples > self.samples
        return samples > 1 and (too_many or (self.bytes is not None and size > self.bytes))


def write_shards(
    samples: Samples,
    classes: Sequence[str],
    folder: Path,
    *,
    size: ShardSize,
    seed: int,
    tell: Callable[[], object] = lambda: None,
) -> ShardIndex:
    """Write one part of a data set: shards ``NAME-000000.tar``, ..., and their ``index.json``.

    The pictures are shuffled, so that a shard holds all classes, and copied byte for byte: ``00000000.jpg`` beside
    ``00000000.cls``, which holds the number of the class. The same pictures give the same bytes.

    Args:
        samples: The pictures, which are files.
        classes: Names of the classes.
        folder: An empty folder; its name is that of the shards.
        size: When a shard is full.
        seed: Of the order.
        tell: Called after each picture.

    Raises:
        DataError: A picture cannot be read any more.
        OSError: A shard cannot be written.
    """
    paths, order = samples.paths, list(range(len(samples)))
    Random(seed).shuffle(order)  # noqa: S311 - no secret
    shards: list[Shard] = []
    writer: _Writer | None = None
    try:
        for number, place in enumerate(order):
            path, label = paths[place], samples.labels[place]
            content = _content(path)
            if writer and size.is_exceeded(writer.size_with(content), writer.samples + 1):
                shards.append(writer.close())
                writer = None
            writer = writer or _Writer(folder / f"{folder.name}-{len(shards):06d}.tar")
            writer.add(f"{number:08d}", path.suffix.lower(), content, label)
            tell()
        if writer:
            shards.append(writer.close())
    finally:
        if writer:
            writer.file.close()
    counts = Counter(samples.labels)
    index = ShardIndex(tuple(classes), tuple(shards), tuple(counts[label] for label in range(len(classes))))
    with (folder / INDEX).open("wb") as file:
        file.write(index.to_json())
        _flush(file)
    return index


class _Writer:
    """One shard that is being written."""

    def __init__(self, path: Path) -> None:
        self.path, self.samples = path, 0
        self.file = path.open("xb")
        self.tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - see close

    def size_with(self, content: bytes) -> int:
        return self.file.tell() + 3 * _BLOCK + len(content)  # two headers, and a block for the label

    def add(self, key: str, suffix: str, content: bytes, label: int) -> None:
        for name, data in ((key + suffix, content), (f"{key}.cls", str(label).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            self.tar.addfile(member, BytesIO(data))
        vars(self.tar)["members"].clear()  # or the memory would hold all headers of the shard
        self.samples += 1

    def close(self) -> Shard:
        self.tar.close()
        _flush(self.file)
        self.file.close()
        return Shard(self.path.name, self.samples, self.path.stat().st_size)


def _flush(file: BinaryIO) -> None:
    """Bring a file to the disk before anybody is told that it is there."""
    file.flush()
    os.fsync(file.fileno())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"cannot read {printable(path)}: {reason}", hint="check that it exists still") from error
