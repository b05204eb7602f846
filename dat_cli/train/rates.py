"""A training whose learning rate grows from step to step, and what it shows."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

LOWEST, HIGHEST = 1e-7, 1.0
_SMOOTHING = 0.9  # of losses, each of which is that of one batch
_DIVERGED = 4.0  # times the best loss


@dataclass(frozen=True)
class RateTrial:
    """What a training with a learning rate that grows from step to step has shown.

    Attributes:
        rates: Learning rate of each step.
        losses: Loss of each step, smoothed.
        suggestion: A tenth of the rate at which the loss was lowest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def write(self, folder: Path) -> None:
        """Write ``lr_find.csv`` and ``lr_find.svg``."""
        with (folder / "lr_find.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["lr", "loss"])
            writer.writerows(zip(self.rates, self.losses, strict=True))
        from matplotlib.figure import Figure  # slow to import

        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.semilogx(self.rates, self.losses)
        axes.axvline(self.suggestion, color="tab:red", label=f"suggested: {self.suggestion:.1e}")
        axes.set(xlabel="learning rate", ylabel="training loss, smoothed")
        axes.legend()
        figure.savefig(folder / "lr_find.svg", metadata={"Date": None})


class Sweep(Callback):
    """Raises the learning rate exponentially from step to step, and keeps the smoothed losses.

    Args:
        steps: Steps from the lowest rate to the highest.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._mean = 0.0
        self._batches: list[float] = []  # of the step that is being made

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Set the rate of the step; groups keep their relation."""
        rate = LOWEST * (HIGHEST / LOWEST) ** (trainer.global_step / max(self.steps - 1, 1))
        groups = trainer.optimizers[0].param_groups
        highest = max(group["initial_lr"] for group in groups)
        for group in groups:
            group["lr"] = rate * group["initial_lr"] / highest

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Note the loss of a step, and end where it is several times the best."""
        self._batches.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)
        if trainer.global_step <= len(self.rates):  # the step is not complete
            return
        loss = sum(self._batches) / len(self._batches)
        self._batches = []
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        smooth = self._mean / (1 - _SMOOTHING ** (len(self.losses) + 1))
        step = len(self.rates)
        self.rates.append(LOWEST * (HIGHEST / LOWEST) ** (step / max(self.steps - 1, 1)))
        self.losses.append(smooth)
        if not math.isfinite(smooth) or smooth > _DIVERGED * min(self.losses):
            trainer.should_stop = True


def suggested(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the rate with the lowest loss, which is near to where it diverges; None where the loss only rose.

    Where the loss falls fastest says less: with few images in a batch that is noise.
    """
    lowest = min(range(len(losses)), key=lambda step: (not math.isfinite(losses[step]), losses[step]))
    return rates[lowest] / 10 if lowest > len(losses) // 10 else None  # the first losses are means of few batches
