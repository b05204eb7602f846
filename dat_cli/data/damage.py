"""Find damaged pictures before they stop a run in its third hour."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import torch.distributed as dist

from dat_cli.data.image import check_image
from dat_cli.data.machine import usable_cpus
from dat_cli.data.samples import Samples
from dat_cli.data.walk import printable
from dat_cli.errors import DataError

_log = logging.getLogger("dat")

_CHUNK = 32  # files a thread takes at once: small enough to stop soon on an interrupt
_SECONDS_BETWEEN_LINES = 30.0


def leave_out_damaged(parts: Mapping[str, Samples], classes: Sequence[str], *, skip: bool) -> dict[str, Samples]:
    """Decode every file of some parts of a data set once; keep those that are whole.

    Args:
        parts: Samples by the name of the part.
        classes: Their names, for errors.
        skip: Leave damaged files out, with a warning that names each, instead of stopping.

    Raises:
        DataError: A file is damaged and ``skip`` is false, or a part, or a class of ``train``, has no others.
    """
    paths = [path for samples in parts.values() for path in samples.paths]
    if not paths:
        return dict(parts)
    start = monotonic()
    damaged = find_damaged(paths)
    _log.info("checked %d images in %.1f s: %d damaged", len(paths), monotonic() - start, len(damaged))
    if not damaged:
        return dict(parts)
    first, *others = damaged.values()
    if not skip:
        for error in others:
            _log.error("%s", error)
        more = f" (and {len(others)} more damaged images, named in the log)" if others else ""
        raise DataError(first + more, hint="replace or remove it, or leave it out with --data.damaged skip")
    for error in damaged.values():
        _log.warning("%s", error)
    _log.warning("left out %d damaged images of %d", len(damaged), len(paths))
    kept = {part: samples.without(set(damaged)) for part, samples in parts.items()}
    _require_enough(parts, kept, classes)
    return kept


def _require_enough(before: Mapping[str, Samples], after: Mapping[str, Samples], classes: Sequence[str]) -> None:
    for part, samples in after.items():
        lost = set(before[part].labels) - set(samples.labels)
        if not samples or (lost and part == "train"):
            what = f"of class {printable(classes[min(lost)])}" if samples else f"for {part}"
            raise DataError(f"all images {what} are damaged", hint="the log names them; replace them")


def find_damaged(paths: Sequence[Path]) -> dict[Path, str]:
    """Decode every file once and say what is wrong with those that cannot be.

    A header does not tell whether a file is whole, so each is read to its end, by one thread per usable CPU (the
    decoders release Python's lock). That takes a few milliseconds of a CPU for a picture: seconds for thousands,
    some minutes for a million on a machine that can train on a million. Processes that train together share the
    work.

    Returns:
        The error of each damaged file.
    """
    share = paths
    if dist.is_available() and dist.is_initialized():
        share = paths[dist.get_rank() :: dist.get_world_size()]
    damaged = dict(_check(share))
    if len(share) < len(paths):
        parts: list[dict[Path, str]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, damaged)
        damaged = {path: error for part in parts for path, error in part.items()}
    return dict(sorted(damaged.items()))


def _check(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    done, last_line = 0, monotonic()
    pool = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="check-images")
    try:
        for chunk, damaged in zip(chunks, pool.map(_check_chunk, chunks), strict=True):
            yield from damaged
            done += len(chunk)
            if monotonic() - last_line > _SECONDS_BETWEEN_LINES:
                last_line = monotonic()
                _log.info("checked %d of %d images", done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)


def _check_chunk(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    errors = ((path, _error_of(path)) for path in paths)
    return [(path, error) for path, error in errors if error is not None]


def _error_of(path: Path) -> str | None:
    try:
        check_image(path)
    except DataError as error:
        return error.message
    return None
