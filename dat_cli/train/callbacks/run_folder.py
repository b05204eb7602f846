"""The folder of a run: ``<output_dir>/<name>/version_N/`` with everything to use it, repeat it and go on with it."""

from __future__ import annotations

import csv
import logging
import math
import re
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from dat_cli.train.classification import Classification
from dat_cli.weights import write_weights

COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_acc1", "val_acc5", "val_f1", "lr")
BEST, LAST, CONFIG, METRICS, LOG = "best.safetensors", "last.ckpt", "config.yaml", "metrics.csv", "train.log"

log = logging.getLogger("dat.train")


class RunFolder(Checkpoint):
    """Keeps a run: its configuration, its curves, its last state, its best weights, its log.

    The folder is made when training starts, not before: what fails on the way there leaves nothing behind.
    Two runs that start at once get two folders. Epochs in ``metrics.csv`` count from 1, scores are fractions.

    Args:
        parent: Folder of all versions of the run.
        config: Text of ``config.yaml``.
        resume: Folder of the run to go on with, instead of a new one.
    """

    def __init__(self, parent: Path, config: str, resume: Path | None = None) -> None:
        self.parent = parent
        self.config = config
        self.path = resume
        self._resumed = resume is not None
        self._best = (-1.0, math.inf)  # top-1, and the loss that decides between equals
        self._log = MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)  # until there is a file
        self._log.addFilter(lambda record: record.name.startswith("dat") or record.levelno >= logging.WARNING)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._log)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Make the folder, or open that of the run which goes on."""
        if trainer.is_global_zero:
            if self.path is None:
                self.path = _next_version(self.parent)
                (self.path / CONFIG).write_text(self.config, encoding="utf-8")
            _keep_rows(self.path / METRICS, trainer.current_epoch)
            file = logging.FileHandler(self.path / LOG, encoding="utf-8")
            file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            self._log.setTarget(file)
            self._log.flush()
            self._log.capacity = 1  # from now on every line goes straight to the file
            log.info("%s %s", "going on in" if self._resumed else "writing to", self.path)
        self.path = trainer.strategy.broadcast(self.path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights if they are the best so far."""
        if trainer.sanity_checking or self.path is None:
            return
        scores = _scores(trainer)
        candidate = (scores.get("val_acc1", -1.0), scores.get("val_loss", math.inf))
        if candidate[0] > self._best[0] or (candidate[0] == self._best[0] and candidate[1] < self._best[1]):
            self._best = candidate
            self._write_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Add the row of the epoch, then save where training stands."""
        if self.path is None:
            return
        if trainer.is_global_zero:
            scores = _scores(trainer)
            shown = {name: f"{value:.9g}" for name, value in scores.items()}  # all that a float32 holds
            row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **shown}
            with (self.path / METRICS).open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, COLUMNS, extrasaction="ignore").writerow(row)
        trainer.save_checkpoint(self.path / LAST)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without any validation the last weights are the best there are."""
        if self.path is not None and not (self.path / BEST).exists():
            self._write_weights(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, so that the checkpoint opens without running code."""
        return {"best_acc1": self._best[0], "best_loss": self._best[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a later epoch has to beat."""
        self._best = (state_dict["best_acc1"], state_dict["best_loss"])

    def summary(self) -> str:
        """What was reached, in one line."""
        accuracy, loss = self._best
        return f"best validation: top-1 {accuracy:.2%}, loss {loss:.4f}" if accuracy >= 0 else "never validated"

    def close(self) -> None:
        """Let go of the log."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._log)
        target = self._log.target
        self._log.close()
        if target is not None:
            target.close()

    def _write_weights(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and self.path is not None and isinstance(module, Classification):
            scores = {name: value for name, value in _scores(trainer).items() if math.isfinite(value)}
            metrics = {name: value for name, value in scores.items() if name.startswith("val_")}
            write_weights(self.path / BEST, module.network.state_dict(), module.weights_config(metrics))


_LOGGERS = ("dat", "lightning.pytorch")


def _scores(trainer: Trainer) -> dict[str, float]:
    metrics = trainer.callback_metrics
    return {name: metrics[name].item() for name in COLUMNS if name in metrics}


def _next_version(parent: Path) -> Path:
    """Make the folder after the last; making it fails if another run has just done so, and then the next is tried."""
    parent.mkdir(parents=True, exist_ok=True)
    found = [re.fullmatch(r"version_(\d+)", entry.name) for entry in parent.iterdir()]
    number = 1 + max((int(match[1]) for match in found if match), default=-1)
    while True:
        path = parent / f"version_{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _keep_rows(path: Path, epochs: int) -> None:
    """Start the table, or drop the rows after the epoch that a resumed run goes on from."""
    kept: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
