"""The logits of a whole validation, in an order that does not depend on how the work was divided."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from dat_cli.data.batch import PADDING, Batch


class LogitsCollector(Callback):
    """Keeps what a network answers to validation images, and brings it together in the first process.

    Attributes:
        logits: (N, classes) in single precision on the CPU, sorted by the names of the images; in the first process
            only, after a validation.
        labels: (N,).
    """

    def __init__(self) -> None:
        self.logits = torch.empty(0, 0)
        self.labels = torch.empty(0, dtype=torch.int64)
        self._found: list[tuple[list[str], Tensor, Tensor]] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - Lightning's signature
        """Begin with nothing."""
        self._found = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Keep a batch, without what only fills it up."""
        real = (batch.labels != PADDING).cpu()
        names = [name for name, is_real in zip(batch.names, real.tolist(), strict=True) if is_real]
        self._found.append((names, outputs.detach().float().cpu()[real], batch.labels.cpu()[real]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Send everything to the first process."""
        shares = [self._found]
        if trainer.world_size > 1:
            shares = [[] for _ in range(trainer.world_size)]
            distributed.gather_object(self._found, shares if trainer.is_global_zero else None)
        self._found = []
        batches = [batch for share in shares for batch in share]
        if not batches:
            return
        names = [name for batch in batches for name in batch[0]]
        order = torch.tensor(sorted(range(len(names)), key=names.__getitem__), dtype=torch.int64)
        self.logits = torch.cat([logits for _, logits, _ in batches])[order]
        self.labels = torch.cat([labels for _, _, labels in batches])[order]
