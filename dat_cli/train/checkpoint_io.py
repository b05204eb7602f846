"""Checkpoints that are whole at every instant: the new one, or the one before it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from dat_cli.errors import DatError
from dat_cli.weights import open_checkpoint
from dat_cli.weights.writer import save_pickle
from dat_cli.whole import whole_file

PREVIOUS = "previous.ckpt"


class WholeCheckpointIO(CheckpointIO):
    """Writes beside, flushes to the disk, renames; keeps the checkpoint before as ``previous.ckpt`` beside it.

    Lightning's own writer swallows a refusal on the way and may move a file across file systems.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002 - Lightning's signature; for storage that is no disk
    ) -> None:
        """Write a checkpoint; after whatever goes wrong, the one before it is there and whole.

        Raises:
            DatError: It could not be written; says where and how much space is free.
        """
        path = Path(path)
        with refusals_in_words(path), whole_file(path) as temporary:
            save_pickle(temporary, checkpoint)
            _keep(path)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,  # noqa: ARG002 - all comes to the CPU; what it is loaded into moves it
        weights_only: bool | None = None,  # noqa: ARG002 - always
    ) -> dict[str, Any]:
        """Read a checkpoint without running code.

        Raises:
            WeightsError: It is missing or damaged, or holds more than tensors and plain values.
        """
        return open_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a file."""
        Path(path).unlink(missing_ok=True)


@contextmanager
def refusals_in_words(path: Path) -> Iterator[None]:
    """Say of a file of a run that cannot be written where it is and how much space is left.

    Raises:
        DatError: For an OSError.
    """
    try:
        yield
    except OSError as error:
        free = ""
        with suppress(OSError):
            free = f" ({shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free there)"
        again = f"dat fit --resume {path.parent}"
        raise DatError(
            f"cannot write {path}: {error.strerror or error}{free}",
            hint=f"the checkpoint before it is whole; when it can be written, go on with {again}",
        ) from error


def _keep(path: Path) -> None:
    """Give the checkpoint that is about to be replaced its second name."""
    if not path.exists():
        return
    previous, spare = path.with_name(PREVIOUS), path.with_name(f".{PREVIOUS}.tmp")
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError:  # a file system without hard links; until the new one is in its place, this is the whole one
        path.replace(previous)
        return
    try:
        spare.replace(previous)
    finally:
        with suppress(FileNotFoundError):
            spare.unlink()  # rename() does nothing where both are the same file already
