"""Randomness of a training step that depends on the seed and the step alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from dat_cli.data.randomness import seed_of


class StepSeed(Callback):
    """Seed every generator before a step: for drop path, and for what mixes images.

    A resumed run goes on as if never stopped, wherever it did, and without a generator's state in its checkpoint.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Each process has its own randomness."""
        seed = seed_of(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the generator that mixing uses
        torch.manual_seed(seed)
