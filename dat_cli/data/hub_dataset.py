"""Data sets of the Hugging Face Hub as a source, streamed."""

from __future__ import annotations

from dat_cli.data.samples import Source
from dat_cli.data.stream import StreamOptions
from dat_cli.errors import DataError

PREFIX = "hf://"


def open_hub_dataset(source: str, *, options: StreamOptions, classes: tuple[str, ...] | None) -> Source:
    """The pictures of a data set of the Hub."""
    raise DataError(f"{source}: not yet")
