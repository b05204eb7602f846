"""From one string, ``data.source``, to labelled pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dat_cli.data.digits import open_digits
from dat_cli.data.folder import open_folder
from dat_cli.data.hub_dataset import PREFIX as HUB
from dat_cli.data.hub_dataset import open_hub_dataset
from dat_cli.data.samples import Sample, Samples, Source
from dat_cli.data.shard_addresses import is_pattern, is_remote
from dat_cli.data.shard_list import has_index
from dat_cli.data.shards import open_shards
from dat_cli.data.stream import StreamOptions
from dat_cli.data.walk import is_folder, list_folder, printable
from dat_cli.errors import DataError, UsageError, did_you_mean

__all__ = ["BUILT_IN", "Sample", "Samples", "Source", "open_source"]

BUILT_IN = "digits"

_log = logging.getLogger("dat")

_SOURCES_HINT = (
    "a source is 'digits', which is built in, a folder with a subfolder of images for each class, "
    "shards (.tar), or hf://datasets/owner/name"
)


def open_source(
    source: str,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    options: StreamOptions | None = None,
) -> Source:
    """The pictures that ``source`` names; none is decoded.

    Args:
        source: ``digits``, or a folder. Its class folders lie below ``train/`` and ``val/`` (also ``valid/``,
            ``validation/``) and perhaps ``test/``; or directly in it, or below ``train/`` alone, and then
            ``val_fraction`` of each class is held out. Or shards, see ``shards.open_shards``; or a data set of the
            Hub, see ``hub_dataset.open_hub_dataset``.
        val_fraction: Part of each class that is held out for validation where the source has no such part;
            in (0, 1), or 1 for all of it where ``classes`` are given.
        seed: Of that choice.
        classes: Names that labels are indices into, of weights that are measured. By default the classes of the
            training part, sorted.
        options: What a stream cannot say about itself.

    Raises:
        DataError: There is no such source, or something in it is not as it should be; names it.
        HubError: The Hub or a web server refuses or is out of reach.
        UsageError: ``val_fraction`` is out of range, or an option is missing or means nothing here.
    """
    known = tuple(classes) if classes else None
    _check_fraction(val_fraction, measures_only=known is not None)
    options = options or StreamOptions()
    if source.startswith(HUB):
        _check_options(options, source, ("val_source", "image_column", "label_column"))
        return open_hub_dataset(source, options=options, classes=known)
    if is_pattern(source) or is_remote(source) or has_index(source):
        _check_options(options, source, ("val_source", "samples"))
        return open_shards(source, options=options, classes=known)
    _check_options(options, source, ())
    if source == BUILT_IN:
        if Path(source).is_dir():
            _log.warning("'digits' means the built-in images; ./digits means the folder of that name")
        return open_digits(val_fraction=val_fraction, seed=seed, classes=known)
    return open_folder(_require_folder(source), val_fraction=val_fraction, seed=seed, classes=known)


def _check_fraction(fraction: float, *, measures_only: bool) -> None:
    if 0 < fraction < 1 or (fraction == 1 and measures_only):
        return
    upper = "at most 1" if measures_only else "less than 1"
    raise UsageError(f"data.val_fraction is {fraction}", hint=f"it must be more than 0 and {upper}, such as 0.2")


def _check_options(options: StreamOptions, source: str, useful: Sequence[str]) -> None:
    given = [name for name, value in vars(options).items() if value is not None and name not in useful]
    if given:
        raise UsageError(f"data.{given[0]} means nothing for {printable(source)[:200]}", hint="leave it out")


def _require_folder(source: str) -> Path:
    if not source.strip():
        raise DataError("data.source is empty", hint=_SOURCES_HINT)
    try:
        path = Path(source).expanduser()
        mode = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a null byte, the home of nobody
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"data.source {printable(source)[:200]!r} is no path: {reason}", hint=_SOURCES_HINT) from error
    is_dir, exists = mode
    if is_dir:
        return path
    if exists:
        raise DataError(f"data.source is a file: {printable(path)}", hint=_file_hint(path))
    raise DataError(f"data.source not found: {printable(path)}", hint=_missing_hint(path))


def _file_hint(path: Path) -> str:
    archives = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
    if path.suffix.lower() in archives:
        return "unpack it and pass the folder"
    return f"pass a folder; {_SOURCES_HINT}"


def _missing_hint(path: Path) -> str:
    """The nearest name beside the missing one, or how far the path exists."""
    parent = path.parent
    if not parent.is_dir():
        existing = next((above for above in parent.parents if above != Path() and above.is_dir()), None)
        return f"{printable(existing)} exists, but not {printable(parent)}" if existing else _SOURCES_HINT
    try:
        siblings = [entry.name for entry in list_folder(parent) if is_folder(entry)]
    except DataError:
        return _SOURCES_HINT
    is_bare = parent == Path()
    near = did_you_mean(path.name, [*siblings, BUILT_IN] if is_bare else siblings)
    return near or _SOURCES_HINT
