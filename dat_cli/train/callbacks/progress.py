"""Progress of a training: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor

INTERVAL = 10.0  # seconds between two lines within an epoch

log = logging.getLogger("dat.train")


class ProgressBar(RichProgressBar):
    """Lightning's bar, on stderr and with the loss of the last batch."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})
        self._loss: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss without waiting for the device."""
        self._loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs count from 1 here as everywhere else."""
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        metrics: dict[str, Any] = dict(super().get_metrics(trainer, pl_module))
        if self._loss is not None:
            metrics["loss"] = round(self._loss.item(), 4)
        return metrics


class ProgressLines(Callback):
    """A line for every epoch, and one from time to time within a long one.

    Args:
        interval: Seconds between two lines within an epoch; None for the lines of epochs alone.
    """

    def __init__(self, interval: float | None = INTERVAL) -> None:
        self.interval = interval
        self._images = 0
        self._first_step = 0
        self._run_start = self._epoch_start = self._last_line = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the run; on resume, at the step where it goes on."""
        self._run_start, self._first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the epoch."""
        self._images, self._epoch_start = 0, time.monotonic()
        self._last_line = self._epoch_start

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count images, and write a line when the last one is long ago."""
        self._images += len(batch[1]) * trainer.world_size
        now = time.monotonic()
        is_last = batch_idx + 1 == trainer.num_training_batches  # the line of the epoch follows
        if self.interval is None or is_last or not trainer.is_global_zero or now - self._last_line < self.interval:
            return
        self._last_line = now
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        log.info(
            "epoch %d/%s  step %d/%s  loss %.4f  lr %.2e  %.1f images/s  %s left",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            batch_idx + 1,
            trainer.num_training_batches,
            loss.item(),
            trainer.optimizers[0].param_groups[0]["lr"],
            self._images / (now - self._epoch_start),
            self._left(trainer),
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The line of the epoch, validation included."""
        if not trainer.is_global_zero:
            return
        scores = {name: value.item() for name, value in trainer.callback_metrics.items()}
        shown = [f"{name} {scores[name]:.4f}" for name in ("train_loss", "val_loss") if name in scores]
        shown += [f"{name} {scores[name]:.2%}" for name in ("val_acc1", "val_acc5", "val_f1") if name in scores]
        seconds = time.monotonic() - self._epoch_start
        log.info(
            "epoch %d/%s  step %d  %s  %s, %.1f images/s  %s left",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            trainer.global_step,
            "  ".join(shown),
            _duration(seconds),
            self._images / max(seconds, 1e-9),
            self._left(trainer),
        )

    def _left(self, trainer: Trainer) -> str:
        done = trainer.global_step - self._first_step
        total = trainer.estimated_stepping_batches - self._first_step
        return _duration((time.monotonic() - self._run_start) / max(done, 1) * (total - done))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
