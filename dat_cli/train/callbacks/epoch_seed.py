"""Randomness that depends on the seed and the epoch alone, so that a resumed run goes on as if never stopped."""

from __future__ import annotations

import random

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import RandomSampler

_EPOCHS = 1_000_003  # a prime: seeds of neighbouring runs do not meet


class EpochSeed(Callback):
    """Seed every generator when an epoch starts.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Before the batches of the epoch are drawn; each process has its own randomness.

        The order of the images is drawn from a generator of its own, because Lightning makes the first iterator of a
        process before this, those of later epochs after it, and each takes a number from the loader's. (Where worker
        processes load, they have begun to by now: the first epoch after a resume then has another order.)
        """
        seed = (self.seed * _EPOCHS + trainer.current_epoch * 1009 + trainer.global_rank) % 2**32
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the generator that augmentations use
        torch.manual_seed(seed)
        sampler = getattr(trainer.train_dataloader, "sampler", None)
        if isinstance(sampler, RandomSampler):
            sampler.generator = torch.Generator().manual_seed(seed)
