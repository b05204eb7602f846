"""``index.json``: what stands beside shards, so that the length of an epoch is known before anything is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dat_cli.data.walk import printable
from dat_cli.errors import DataError

INDEX = "index.json"
LARGEST = 256 << 20
"""Bytes; a million shards and as many classes have room in it."""

_HINT = "let `dat shard` write it, or remove it"


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        name: Of the file, without a folder.
        samples: How many pictures it has.
        bytes: Size of the file.
    """

    name: str
    samples: int
    bytes: int


@dataclass(frozen=True)
class ShardIndex:
    """The shards of one folder.

    Attributes:
        classes: Names of the classes; the numbers in ``.cls`` files are indices into it.
        shards: In order.
        class_counts: Pictures of each class; None where nobody has counted.
    """

    classes: tuple[str, ...]
    shards: tuple[Shard, ...] = field(repr=False)
    class_counts: tuple[int, ...] | None = None

    def to_json(self) -> bytes:
        """The content of the file; one shard a line, so that people can read it."""
        shards = [json.dumps(vars(shard)) for shard in self.shards]
        about = {"classes": self.classes, "class_counts": self.class_counts}
        head = json.dumps(about, ensure_ascii=False, indent=None)[:-1]
        lines = ",\n".join(shards)
        return f'{head}, "shards": [\n{lines}\n]}}\n'.encode()


def parse_index(data: bytes, place: str) -> ShardIndex:
    """Read and check the content of an index.

    Args:
        data: The file's bytes.
        place: What to call it in an error.

    Raises:
        DataError: It is not as it should be.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is no JSON: {printable(str(error))[:100]}", hint=_HINT) from error
    if not isinstance(found, Mapping) or not isinstance(found.get("shards"), list) or not found["shards"]:
        raise DataError(f"{place} lists no shards", hint=_HINT)
    classes = _classes(found.get("classes"), place)
    counts = found.get("class_counts")
    if counts is not None and not (
        isinstance(counts, list) and len(counts) == len(classes) and all(map(_is_count, counts))
    ):
        raise DataError(f"{place} has class_counts that are no numbers of images, one for each class", hint=_HINT)
    shards = tuple(_shard(shard, place) for shard in found["shards"])
    return ShardIndex(classes, shards, None if counts is None else tuple(counts))


def _classes(found: object, place: str) -> tuple[str, ...]:
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(name, str) and name for name in found)
        or len(set(found)) < len(found)
    ):
        raise DataError(f"{place} has no list of names of classes, each of them once", hint=_HINT)
    return tuple(found)


def _shard(found: Any, place: str) -> Shard:
    try:
        shard = Shard(found["name"], found["samples"], found["bytes"])
    except (TypeError, KeyError) as error:
        raise DataError(f"{place} has a shard without name, samples or bytes", hint=_HINT) from error
    is_name = isinstance(shard.name, str) and shard.name not in ("", ".", "..") and shard.name.isprintable()
    if not is_name or any(sign in shard.name for sign in "/\\:?#%"):  # it stays in the folder of the index
        raise DataError(f"{place} names a shard {ascii(shard.name)[:100]}, which is no name of a file", hint=_HINT)
    if not _is_count(shard.samples) or not _is_count(shard.bytes):
        raise DataError(f"{place} has no numbers for {shard.name[:100]}", hint=_HINT)
    return shard


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
