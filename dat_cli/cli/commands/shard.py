"""``dat shard``: a folder of images as WebDataset shards."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.cli.options import PlainParser
from dat_cli.cli.output import talk
from dat_cli.errors import DataError, UsageError
from dat_cli.whole import cut_to_bytes

if TYPE_CHECKING:
    from dat_cli.data.samples import Samples, Source

log = logging.getLogger("dat.shard")

_MEGABYTE = 1_000_000
_DEFAULT_SIZE = 100.0  # megabytes: enough to read at a disk's full speed, few enough to send again after a fault


def main(args: list[str]) -> int:
    """Write shards, and print where to; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    _check(options)
    out = Path(options.out).expanduser()
    _require_new(out, Path(options.folder).expanduser())

    from dat_cli.data.shard_writer import ShardSize, write_shards  # imports torch with the sources
    from dat_cli.data.sources import BUILT_IN, open_source

    if options.folder == BUILT_IN and not Path(options.folder).is_dir():
        raise UsageError("the built-in digits are no files", hint="give a folder of images")
    source = open_source(options.folder, val_fraction=options.val_fraction, seed=options.seed)
    parts = _whole(source, skip=options.damaged == "skip")
    by_samples = options.samples is not None
    size = ShardSize(samples=options.samples) if by_samples else ShardSize(bytes=int(options.size * _MEGABYTE))
    with _whole_folder(out) as folder, _progress(sum(map(len, parts.values()))) as tell:
        for part, samples in parts.items():
            (folder / part).mkdir()
            index = write_shards(samples, source.classes, folder / part, size=size, seed=options.seed, tell=tell)
            log.info("%s: %d images in %d shards", part, len(samples), len(index.shards))
    sys.stdout.write(f"{out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat shard",
        description="Write a folder of images as WebDataset shards (.tar) with an index.json: OUT/train, OUT/val, and "
        "OUT/test if the folder has it. Images are shuffled and copied byte for byte. Train on them with "
        "dat fit --data.source OUT.",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="a subfolder of images for each class, or such folders below train/ and val/")
    add("out", metavar="OUT", help="a new folder; it appears when it is complete")
    add("--size", type=float, metavar="MB", help=f"megabytes in a shard; by default {_DEFAULT_SIZE:g}")
    add("--samples", type=int, metavar="N", help="images in a shard, in place of --size")
    add("--seed", type=int, default=0, help="of the order, and of the choice of validation images")
    add("--val_fraction", type=float, default=0.2, help="part of each class for val, where there is no val/")
    add("--damaged", choices=["error", "skip"], default="error", help="refuse damaged images, or leave them out")
    return parser


def _check(options: argparse.Namespace) -> None:
    if not options.folder.strip() or not options.out.strip():
        raise UsageError("the name of a folder is empty", hint="dat shard FOLDER OUT")
    if options.size is not None and options.samples is not None:
        raise UsageError("--size and --samples are both given", hint="leave one out")
    if options.size is None:
        options.size = _DEFAULT_SIZE
    if not 0.001 <= options.size <= 1_000_000:
        raise UsageError(f"--size is {options.size:g}", hint="it must be from 0.001 to 1000000 megabytes")
    if options.samples is not None and options.samples < 1:
        raise UsageError(f"--samples is {options.samples}", hint="it must be at least 1")
    if not 0 <= options.seed < 2**32:
        raise UsageError(f"--seed is {options.seed}", hint="it must be from 0 to 4294967295")


def _require_new(out: Path, source: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{str(out)[-200:]!r} is there already", hint="give a new folder")
    place = Path(os.path.realpath(out))
    if Path(os.path.realpath(source)) in (place, *place.parents):
        raise UsageError(f"{str(out)[-200:]!r} lies in the folder of the images", hint="give a folder elsewhere")


def _whole(source: Source, *, skip: bool) -> dict[str, Samples]:
    """The parts that there are, without damaged images."""
    from dat_cli.data.damage import leave_out_damaged
    from dat_cli.data.samples import Samples

    parts = {"train": source.train, "val": source.val, "test": source.test}
    files = {part: samples for part, samples in parts.items() if isinstance(samples, Samples) and samples}
    if len(files) < sum(1 for samples in parts.values() if samples):
        raise UsageError(f"{source.name} is no folder of images", hint="what lies in shards needs no shards")
    try:
        return leave_out_damaged(files, source.classes, skip=skip)
    except DataError as error:
        hint = error.hint.replace("--data.damaged", "--damaged") if error.hint else None
        raise DataError(error.message, hint=hint) from error


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """An empty folder that becomes ``out`` when it is complete; an exception leaves nothing behind."""
    place = Path(os.path.realpath(out))
    place.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: one that was killed leaves its folder behind, and numbers of processes come again.
    temporary = Path(tempfile.mkdtemp(".tmp", f".{cut_to_bytes(place.name, 80)}.", place.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # only its owner may read what mkdtemp makes
        temporary.replace(place)
    except OSError as error:
        if not error.filename or str(temporary) in str(error.filename):
            error.filename = str(out)  # not a hidden folder that is gone by then
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    """What to call after each image: it moves a bar on a terminal."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = talk()
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(
        *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("writing shards", total=total)
        yield lambda: bar.advance(task)
