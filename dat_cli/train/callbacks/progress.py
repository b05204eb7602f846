"""Progress of a training: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import BatchesProcessedColumn, CustomBarColumn
from rich.progress import ProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from dat_cli.train.callbacks.pace import Pace, duration

INTERVAL = 10.0  # seconds between two lines within an epoch, at first
LONGEST_INTERVAL = 600.0  # seconds; a month has no more than some thousand lines
EVERY_EPOCH = 1000  # epochs that each have a line; later ones share the longest interval
_GLANCE = 0.5  # seconds between two looks at the loss, for which a GPU has to stop

log = logging.getLogger("dat.train")


class ProgressBar(RichProgressBar):
    """A bar on stderr with the loss, the learning rate, pictures per second and the time left of the whole run."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})
        self._pace = Pace()
        self._loss: Tensor | None = None
        self._shown: dict[str, Any] = {}
        self._next_glance = 0.0

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """What stands beside the metrics, which a training alone has."""
        columns: list[ProgressColumn] = [
            TextColumn("[progress.description]{task.description}"),
            CustomBarColumn(
                bar_width=30,
                complete_style=self.theme.progress_bar,
                finished_style=self.theme.progress_bar_finished,
                pulse_style=self.theme.progress_bar_pulse,
            ),
            BatchesProcessedColumn(style=self.theme.batch_progress),
        ]
        return columns if trainer.state.fn == "fit" else [*columns, TimeRemainingColumn()]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._pace.start(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count pictures anew."""
        super().on_train_epoch_start(trainer, pl_module)
        self._pace.restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop counting."""
        super().on_validation_start(trainer, pl_module)
        self._pace.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on counting."""
        super().on_validation_end(trainer, pl_module)
        self._pace.go_on()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss without waiting for the device."""
        self._loss = _loss(trainer, outputs)
        self._pace.count(len(batch[1]) * trainer.world_size)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:  # noqa: ARG002
        """What stands beside the bar; a new look is taken from time to time."""
        now = time.monotonic()
        if self._loss is not None and now >= self._next_glance:
            self._next_glance = now + _GLANCE
            self._shown = {
                "loss": f"{self._loss.item():.4f}",
                "lr": f"{_learning_rate(trainer):.2e}",
                "images/s": f"{self._pace.images_per_second:.1f}",
                "time": self._pace.left(trainer),
            }
        return self._shown

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs count from 1 here as everywhere else."""
        return f"Epoch {_of(current_epoch + 1, self.trainer.max_epochs)}"


class ProgressLines(Callback):
    """A line for every epoch, and one from time to time within a long one.

    The longer a run takes, the rarer the lines become, so that no log fills a disk.

    Args:
        interval: Seconds between two lines within an epoch, at first; None for the lines of epochs alone.
    """

    def __init__(self, interval: float | None = INTERVAL) -> None:
        self.interval = interval
        self._pace = Pace()
        self._losses: Tensor | None = None
        self._batches = self._epochs = 0
        self._epoch_start = self._last_line = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the run, and that of an epoch which goes on: its start is not told again."""
        self._pace.start(trainer)
        self._epoch_start = self._last_line = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock of the epoch."""
        self._epoch_start = time.monotonic()
        self._pace.restart()
        self._forget()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop counting."""
        self._pace.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Go on counting."""
        self._pace.go_on()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count pictures, and write a line when the last one is long ago."""
        self._pace.count(len(batch[1]) * trainer.world_size)
        loss = _loss(trainer, outputs)
        self._losses = loss if self._losses is None else self._losses + loss
        self._batches += 1
        is_last = batch_idx + 1 == trainer.num_training_batches  # the line of the epoch follows
        if self.interval is None or is_last or not trainer.is_global_zero or not self._is_time(self.interval):
            return
        log.info(
            "epoch %s  batch %s  loss %.4f  lr %.2e  %.1f images/s  %s",
            _of(trainer.current_epoch + 1, trainer.max_epochs),
            _of(batch_idx + 1, trainer.num_training_batches),
            self._losses.item() / self._batches,
            _learning_rate(trainer),
            self._pace.images_per_second,
            self._pace.left(trainer),
        )
        self._last_line = time.monotonic()
        self._forget()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The line of the epoch, validation included."""
        self._epochs += 1
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        shown = is_last or self._epochs <= EVERY_EPOCH or self._is_time(LONGEST_INTERVAL)
        metrics = trainer.callback_metrics  # computed when first asked for, which all processes have to do together
        if not trainer.is_global_zero or not shown:
            return
        self._last_line = time.monotonic()
        scores = {name: value.item() for name, value in metrics.items()}
        said = [f"{name} {scores[name]:.4f}" for name in ("train_loss", "val_loss") if name in scores]
        said += [f"{name} {scores[name]:.2%}" for name in ("val_acc1", "val_acc5", "val_f1") if name in scores]
        log.info(
            "epoch %s  step %d  %s  %s, %.1f images/s  %s",
            _of(trainer.current_epoch + 1, trainer.max_epochs),
            trainer.global_step,
            "  ".join(said),
            duration(time.monotonic() - self._epoch_start),
            self._pace.images_per_second,
            self._pace.left(trainer),
        )

    def _is_time(self, least: float) -> bool:
        """Whether the last line is long enough ago: a hundredth of the time so far, within bounds."""
        return time.monotonic() - self._last_line >= min(max(least, self._pace.elapsed / 100), LONGEST_INTERVAL)

    def _forget(self) -> None:
        self._losses, self._batches = None, 0


def _loss(trainer: Trainer, outputs: Any) -> Tensor:
    """The loss of a batch; Lightning has divided it for the sum that gradients accumulate to."""
    loss: Tensor = outputs["loss"] if isinstance(outputs, dict) else outputs
    return loss.detach() * trainer.accumulate_grad_batches


def _learning_rate(trainer: Trainer) -> float:
    """The highest of all parameters."""
    return max(group["lr"] for group in trainer.optimizers[0].param_groups)


def _of(number: int, total: float | None) -> str:
    """``3/20``, or ``3`` where nobody knows how many there will be."""
    return f"{number}/{int(total)}" if total is not None and 0 < total < float("inf") else f"{number}"
