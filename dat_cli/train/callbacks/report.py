"""Keep the pictures and the page of a run up to date while it trains."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from dat_cli.report.files import write_findings
from dat_cli.report.findings import Findings
from dat_cli.report.html import write_report
from dat_cli.train.callbacks.run_folder import BEST, RunFolder

INTERVAL = 60.0  # seconds between two reports of a training that goes on
SHARE = 0.02  # of the time of a training that reports may take

log = logging.getLogger("dat.train")


class Report(Checkpoint):
    """Writes into the folder of the run what the best weights get right and wrong, and a page for people.

    The findings are those that the module offers as ``findings`` after a validation. A failure here is a warning:
    no training ends for want of a picture.

    It is a kind of ``Checkpoint`` because Lightning calls these last: the folder has its newest row and weights then.

    Args:
        folder: That of the run; it has to stand before this among the callbacks.
        interval: Seconds between two reports of a training that goes on.
    """

    def __init__(self, folder: RunFolder, interval: float = INTERVAL) -> None:
        self.folder = folder
        self.interval = interval
        self._best: tuple[int, int] | None = None
        self._next = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Remember which weights are there already, and start the clock."""
        self._best = self._best_weights()
        self._next = time.monotonic() + self.interval

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the findings of the validation whose weights were just kept as the best."""
        findings: Findings | None = getattr(pl_module, "findings", None)
        path = self.folder.path
        if trainer.sanity_checking or not trainer.is_global_zero or findings is None or path is None:
            return
        best = self._best_weights()
        if best != self._best:
            self._best = best
            _attempt(lambda: write_findings(path, findings), "findings")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Draw everything again if the last time is long ago."""
        if trainer.is_global_zero and time.monotonic() >= self._next:
            self._write()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Draw everything a last time."""
        if trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        path = self.folder.path
        if path is None:
            return
        start = time.monotonic()
        _attempt(lambda: write_report(path), "report")
        now = time.monotonic()
        self._next = now + max(self.interval, (now - start) / SHARE)

    def _best_weights(self) -> tuple[int, int] | None:
        """What tells one file of weights from the next."""
        path: Path | None = self.folder.path
        try:
            status = (path / BEST).stat() if path is not None else None
        except OSError:
            return None
        return None if status is None else (status.st_ino, status.st_mtime_ns)


def _attempt(write: Callable[[], object], what: str) -> None:
    try:
        write()
    except Exception as error:  # noqa: BLE001 - whatever it is, the training matters more
        log.warning("the %s could not be written: %s: %s", what, type(error).__name__, error)
