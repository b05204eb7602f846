"""Keeps what the search for a learning rate has shown beside the run that it was made for."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from dat_cli.train.callbacks.run_folder import RunFolder
from dat_cli.train.rates import RateTrial


class KeepTrial(Callback):
    """Writes the curve into the folder of the run, once that is there.

    Args:
        found: The curve.
        folder: Of the run, whose own callback comes first.
    """

    def __init__(self, found: RateTrial, folder: RunFolder) -> None:
        self.found = found
        self.folder = folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """The folder is there."""
        if trainer.is_global_zero and self.folder.path is not None:
            self.found.write(self.folder.path)
