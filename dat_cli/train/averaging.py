"""The mean of the weights over the last steps, which is what is validated, kept and exported."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from dat_cli.errors import UsageError


class Averaging(EMAWeightAveraging):
    """Lightning's exponential moving average, after every optimizer step.

    Args:
        decay: Share of the average that stays in a step.

    Raises:
        UsageError: It is not between 0 and 1.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise UsageError(f"--ema_decay is {decay}", hint="it must be between 0 and 1, such as 0.9999")
        # Buffers are indices of positions, which have no mean; they are copied.
        super().__init__(decay=decay, use_buffers=False)
        self.swapped = False

    def network(self, module: LightningModule) -> nn.Module:
        """The network with the averaged weights: to read, not to train.

        Args:
            module: What is trained, with a ``network``.
        """
        average = self._average_model
        if self.swapped or average is None:
            return module.network  # type: ignore[return-value]  # nn.Module types any attribute as a Tensor too
        return average.module.network  # type: ignore[return-value]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if not self.swapped:
            super().on_validation_epoch_start(trainer, pl_module)
            self.swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on with the weights themselves."""
        self.give_back(trainer, pl_module)

    def give_back(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the weights themselves back, as before a checkpoint in the middle of a validation."""
        if self.swapped:
            super().on_validation_epoch_end(trainer, module)
            self.swapped = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep both: the average as the weights of the checkpoint, what is trained beside it.

        Raises:
            RuntimeError: They have changed places, as within a validation.
        """
        if self.swapped:
            raise RuntimeError("a checkpoint in the middle of a validation would take the average for what is trained")
        super().on_save_checkpoint(trainer, pl_module, checkpoint)


def averaged(trainer: Trainer, module: LightningModule) -> nn.Module:
    """The network whose weights are measured and kept: the average where there is one."""
    found = _averaging(trainer)
    return module.network if found is None else found.network(module)  # type: ignore[return-value]  # see above


def give_back(trainer: Trainer, module: LightningModule) -> None:
    """Leave a validation with the weights themselves, if it was of their average."""
    if (found := _averaging(trainer)) is not None:
        found.give_back(trainer, module)


def _averaging(trainer: Trainer) -> Averaging | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a part of the trainer
    return next((callback for callback in callbacks if isinstance(callback, Averaging)), None)
