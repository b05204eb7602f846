"""The folder of a run: ``<output_dir>/<name>/version_N/`` with everything to use it, repeat it and go on with it."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from dat_cli.errors import UsageError
from dat_cli.train import slurm
from dat_cli.train.averaging import averaged
from dat_cli.train.callbacks.finite import require_finite
from dat_cli.train.callbacks.log_file import LogFile
from dat_cli.train.callbacks.table import COLUMNS, add_row, keep_rows
from dat_cli.train.callbacks.versions import next_version
from dat_cli.train.checkpoint_io import refusals_in_words
from dat_cli.train.classification import Classification
from dat_cli.train.environment import ENVIRONMENT, environment
from dat_cli.train.sharding import whole_tensors
from dat_cli.weights import write_weights
from dat_cli.whole import whole_file

BEST, LAST, CONFIG, METRICS, LOG = "best.safetensors", "last.ckpt", "config.yaml", "metrics.csv", "train.log"
JOB = "slurm_job.txt"

log = logging.getLogger("dat.train")


class RunFolder(Checkpoint):
    """Keeps a run: its configuration, its curves, its last state, its best weights, its log.

    The folder is made when training starts, not before: what fails on the way there leaves nothing behind.
    Two runs that start at once get two folders. Epochs in ``metrics.csv`` count from 1, scores are fractions.

    Args:
        parent: Folder of all versions of the run.
        config: Text of ``config.yaml``.
        resume: Folder of the run to go on with, instead of a new one.
        save_minutes: Minutes between two checkpoints within an epoch.

    Raises:
        UsageError: That is no time.
    """

    def __init__(self, parent: Path, config: str, resume: Path | None = None, save_minutes: float = 30.0) -> None:
        if not save_minutes >= 0:
            raise UsageError(f"--save_minutes is {save_minutes}, not a number from 0 up")
        self.parent = parent
        self.config = config
        self.path = resume
        self.save_minutes = save_minutes
        self._resumed = resume is not None
        self._best = (-1.0, math.inf)  # top-1, and the loss that decides between equals
        self._row: dict[str, float] = {}  # what is known of the epoch
        self._saved = time.monotonic()
        self._before_validation = False
        self._log = LogFile()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Make the folder, or open that of the run which goes on."""
        if trainer.is_global_zero:
            if self.path is None:
                self.path = next_version(self.parent)
                _write_text(self.path / CONFIG, self.config)
                _write_text(self.path / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
            for rest in self.path.glob(".*.tmp"):  # of a process that was killed while it wrote
                rest.unlink(missing_ok=True)
            if (job := slurm.job_id()) is not None:
                _write_text(self.path / JOB, f"{job}\n")
            keep_rows(self.path / METRICS, trainer.current_epoch)
            self._log.write_to(self.path / LOG)
            log.info("%s %s", "going on in" if self._resumed else "writing to", self.path)
        self.path = trainer.strategy.broadcast(self.path)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self._row.items()})
        self._saved = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Note the learning rate, which is that of the next step when this one is done."""
        self._row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Forget that an earlier process was stopped within this validation, which begins anew."""
        total = trainer.fit_loop.epoch_loop.val_loop.batch_progress.total
        if total.ready != total.completed:
            total.reset()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights if they are the best so far, and finite."""
        if trainer.sanity_checking or self.path is None:
            return
        scores = _scores(trainer)
        self._row.update({name: value for name, value in scores.items() if name.startswith("val_")})
        candidate = (scores.get("val_acc1", -1.0), scores.get("val_loss", math.inf))
        if not all(math.isfinite(value) for value in candidate):
            log.warning("the validation is not finite (loss %s): its weights are not kept as the best", candidate[1])
        elif candidate[0] > self._best[0] or (candidate[0] == self._best[0] and candidate[1] < self._best[1]):
            self._write_weights(trainer, pl_module)
            self._best = candidate

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Add the row of the epoch, then save where training stands."""
        if self.path is None:
            return
        scores = _scores(trainer)  # which all processes compute together
        if trainer.is_global_zero:
            row = {**self._row, **{name: value for name, value in scores.items() if name == "train_loss"}}
            shown = {name: f"{value:.9g}" for name, value in row.items()}  # all that a float32 holds
            with refusals_in_words(self.path / METRICS):
                add_row(self.path / METRICS, {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **shown})
        self._row = {}
        self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without any validation the last weights are the best there are."""
        if self.path is not None and not (self.path / BEST).exists():
            self._write_weights(trainer, pl_module)

    def is_due(self) -> bool:
        """Whether the last checkpoint is so long ago that the next must not wait for the end of the epoch."""
        return self.path is not None and time.monotonic() - self._saved >= 60 * self.save_minutes

    def save(self, trainer: Trainer, *, before_validation: bool = False) -> None:
        """Write ``last.ckpt``; all processes call this.

        Args:
            trainer: What trains.
            before_validation: A resumed run begins with the validation that is going on.

        Raises:
            DatError: Weights are not finite, or the file cannot be written; the checkpoint before it is whole.
        """
        if self.path is None:
            return
        self._before_validation = before_validation
        module = trainer.lightning_module
        if before_validation and isinstance(module, Classification) and module.train_loss.update_called:
            self._row["train_loss"] = float(module.train_loss.compute())  # else it is known from an earlier stop
        trainer.save_checkpoint(self.path / LAST, weights_only=False)
        self._saved = time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Refuse what nobody could go on from; say where a resumed run begins.

        Raises:
            DatError: Weights are not finite.
        """
        for state in ("state_dict", "current_model_state"):
            require_finite(checkpoint.get(state, {}), f"{LAST} is not written")
        if self._before_validation:
            nothing = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
            checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"] = {
                # What Lightning takes for a validation that was left in its first batch.
                "total": {**nothing, "ready": 1, "started": 1},
                "current": nothing,
                "is_last_batch": False,
            }

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, so that the checkpoint opens without running code."""
        return {"best_acc1": self._best[0], "best_loss": self._best[1], "row": dict(self._row)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What a later epoch has to beat, and what is known of the one that goes on."""
        self._best = (state_dict["best_acc1"], state_dict["best_loss"])
        self._row = dict(state_dict.get("row", {}))

    def summary(self) -> str:
        """What was reached, in one line."""
        accuracy, loss = self._best
        return f"best validation: top-1 {accuracy:.2%}, loss {loss:.4f}" if accuracy >= 0 else "never validated"

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _write_weights(self, trainer: Trainer, module: LightningModule) -> None:
        if not isinstance(module, Classification):
            return
        tensors = whole_tensors(averaged(trainer, module).state_dict())
        if trainer.is_global_zero and self.path is not None:
            require_finite(tensors, f"{BEST} is not written")
            scores = {name: value for name, value in _scores(trainer).items() if math.isfinite(value)}
            metrics = {name: value for name, value in scores.items() if name.startswith("val_")}
            with refusals_in_words(self.path / BEST):
                write_weights(self.path / BEST, tensors, module.weights_config(metrics))


def _scores(trainer: Trainer) -> dict[str, float]:
    metrics = trainer.callback_metrics
    return {name: metrics[name].item() for name in COLUMNS if name in metrics}


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
