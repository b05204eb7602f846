"""Data sets of the Hugging Face Hub as a source, streamed by the library ``datasets``."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any

from dat_cli.data.folder import PREPROCESSING
from dat_cli.data.hub_columns import Columns, find_columns, meanings
from dat_cli.data.hub_errors import hub_errors, require_online
from dat_cli.data.samples import Samples, Source
from dat_cli.data.stream import Record, Stream, StreamOptions
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError, did_you_mean

PREFIX = "hf://"

_START = "hf://datasets/"
_PART = r"\w(?:[\w.-]{0,94}\w)?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([\w./-]{{1,250}}))?(?::([\w.@+ -]{{1,200}}))?", re.ASCII)
_SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
_ROWS = 16  # turned into Python objects at once
_COUNTING = 8  # files at once; what takes time is the way to the Hub

_log = logging.getLogger("dat.data")


def open_hub_dataset(source: str, *, options: StreamOptions, classes: tuple[str, ...] | None) -> Source:
    """The pictures of a data set of the Hub; nothing is downloaded but what says how many there are.

    Args:
        source: ``hf://datasets/owner/name[@revision][:configuration]``. Its files must be parquet, as the Hub makes
            them of every public data set at the revision ``refs/convert/parquet``.
        options: The columns, and the split to validate on where it is none of validation, val, valid and dev.
        classes: Names that labels are indices into, of weights that are measured.

    Raises:
        UsageError: The name can be none, or the package ``datasets`` is missing.
        DataError: The data set has no such columns, splits or files.
        HubError: The Hub refuses or is out of reach.
    """
    name = _parse(source)
    try:
        from datasets import load_dataset_builder  # type: ignore[import-untyped]  # it has none
    except ImportError as error:
        raise UsageError(f"{source} needs the package datasets", hint="pip install dat-cli[datasets]") from error
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)  # what it says there is raised too
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with hub_errors(name.id, name.revision):
        require_online()
        builder = load_dataset_builder(name.id, name.config, revision=name.revision)
        if builder.name != "parquet":
            raise DataError(
                f"the files of {source} are {printable(builder.name)}, not parquet",
                hint=f"try {_START}{name.id}@refs/convert/parquet, where the Hub keeps them as parquet",
            )
        splits = builder.as_streaming_dataset()
    chosen = _splits(splits, options.val_source, source, is_measured=classes is not None)
    columns = find_columns(next(iter(splits.values())).features, options, source)
    known = classes or columns.classes
    if known is None:
        raise UsageError(f"{source} has no names for its labels", hint="pass them as --data.classes")
    labels = meanings(columns.classes, known, source)
    streams = {
        part: HubStream(source, known, splits[split], builder.config.data_files[split], columns, labels, name)
        for part, split in chosen.items()
    }
    return Source(
        name=source,
        classes=known,
        train=streams.get("train", Samples()),
        val=streams.get("val", Samples()),
        test=streams.get("test"),
        preprocessing=PREPROCESSING,
        crop_scale=(0.35, 1.0),
        flip=0.5,
    )


@dataclass(frozen=True)
class DatasetName:
    """A data set of the Hub: ``owner/name``, a revision and a configuration, where they are given."""

    id: str
    revision: str | None = None
    config: str | None = None


class HubStream(Stream):
    """One split of a data set.

    Args:
        source: What to call it.
        classes: Names of the classes.
        split: The split, as the library streams it.
        files: Its files, in order; each is a shard.
        columns: Of pictures and labels.
        labels: Index of the class that each label means.
        name: The data set.
    """

    counts: tuple[int, ...] = ()
    mean_bytes: int = 0

    def __init__(
        self,
        source: str,
        classes: tuple[str, ...],
        split: Any,
        files: Sequence[str],
        columns: Columns,
        labels: Mapping[int | str, int],
        name: DatasetName,
    ) -> None:
        from datasets import Image

        with hub_errors(name.id, name.revision):
            counts, size = _count(files)
            chosen = split.select_columns([columns.image, columns.label])
            self.split = chosen.cast_column(columns.image, Image(decode=False))  # we decode, and safely
        full = [place for place, count in enumerate(counts) if count]
        super().__init__(source, classes)
        self.counts = tuple(counts[place] for place in full)
        self.mean_bytes = size // max(sum(counts), 1)
        self.files = tuple(files)
        self.places = tuple(full)
        self.columns = columns
        self.labels = labels
        self.dataset_name = name

    def read(self, shard: int, wanted: Iterator[int]) -> Iterator[tuple[int, Record]]:
        """Some pictures of a file with their numbers in it.

        Raises:
            DataError: The file is damaged or ends early, or a picture has no label.
            HubError: The Hub refuses or is out of reach.
        """
        place, target = self.places[shard], next(wanted)
        with hub_errors(self.dataset_name.id, self.dataset_name.revision):
            file = self.split.shard(num_shards=len(self.files), index=place).skip(target)
            number = target
            # In batches, because the library would divide single rows among PyTorch's workers, which we have done.
            for rows in file.iter(batch_size=_ROWS):
                for image, label in zip(rows[self.columns.image], rows[self.columns.label], strict=True):
                    if number == target:
                        yield number, self._record(image, label, f"{self.files[place].partition('@')[2]}:{number}")
                        following = next(wanted, None)
                        if following is None:
                            return
                        target = following
                    number += 1
        raise DataError(f"{self.files[place]} has {number} images, {self.counts[shard]} were expected")

    def _record(self, image: Any, label: Any, row: str) -> Record:
        name = f"{self.name} {printable(row.partition('/')[2])}"
        if label not in self.labels:
            raise DataError(
                f"the label of {name} is {printable(str(label))[:80]}, which is none of {len(self.classes)} classes",
                hint="splits without labels, which are -1, cannot be measured on",
            )
        content = image.get("bytes") if isinstance(image, dict) else None
        if not isinstance(content, bytes):  # a path alone could mean any file of this machine
            raise DataError(f"{name} holds no image, only where it was", hint="use a data set with its images inside")
        return Record(name, content, self.labels[label])


def _parse(source: str) -> DatasetName:
    found = _NAME.fullmatch(source.removeprefix(_START)) if source.startswith(_START) else None
    if not found or ".." in source:
        shown = printable(source)[:200]
        raise UsageError(f"{shown} names no data set of the Hub", hint=f"it looks like {_START}owner/name@revision")
    return DatasetName(*found.groups())


def _splits(splits: Mapping[Any, Any], val: str | None, source: str, *, is_measured: bool) -> dict[str, str]:
    """The split of each part that there is."""
    names = [str(name) for name in splits]
    if val is not None and val not in names:
        hint = did_you_mean(val, names) or f"there are {', '.join(names)}"
        raise DataError(f"{source} has no split {printable(val)[:100]}", hint=hint)
    given = {**_SPLITS, "val": (val,)} if val else _SPLITS
    found = {part: next((name for name in candidates if name in names), None) for part, candidates in given.items()}
    lacking = [part for part in ("train", "val") if found[part] is None]
    if lacking and not is_measured:
        there = ", ".join(names)
        hint = "pass the split to validate on as --data.val_source" if lacking == ["val"] else "name another data set"
        what = "train on" if "train" in lacking else "validate on"
        raise DataError(f"{source} has no split to {what}; there are {printable(there)[:200]}", hint=hint)
    return {part: name for part, name in found.items() if name is not None}


def _count(files: Sequence[str]) -> tuple[list[int], int]:
    """Rows of each parquet file, by its last bytes, and the bytes of all rows."""
    start = monotonic()
    with ThreadPoolExecutor(_COUNTING, thread_name_prefix="count-rows") as pool:
        found = list(pool.map(_count_one, files))
    counts = [rows for rows, _ in found]
    _log.info("counted %d images in %d files in %.1f s", sum(counts), len(files), monotonic() - start)
    return counts, sum(size for _, size in found)


def _count_one(file: str) -> tuple[int, int]:
    import fsspec  # type: ignore[import-untyped]  # it has none
    from pyarrow import parquet

    with fsspec.open(file, "rb") as opened:
        about = parquet.read_metadata(opened)
    return about.num_rows, sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
