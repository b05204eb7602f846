"""A short training that leaves nothing behind: a copy of the network with a trainer of its own.

Lightning's Tuner writes all weights into the current folder, takes its steps with the run's own network, and may return
a batch size that it never tried.
"""

from __future__ import annotations

import copy
import tempfile

from lightning.pytorch import Callback, Trainer

from dat_cli.data.module import ImageDataModule
from dat_cli.data.randomness import seeded
from dat_cli.train.callbacks.step_seed import StepSeed
from dat_cli.train.classification import Classification


def trial(
    trainer: Trainer, module: Classification, data: ImageDataModule, *, steps: int, sweep: Callback | None = None
) -> None:
    """Take some steps with a copy of the network, as the run would take them, and forget them."""
    with tempfile.TemporaryDirectory(prefix="dat-tuning-") as nowhere, seeded(0):
        scratch = Trainer(
            accelerator=trainer.accelerator,
            devices=trainer.device_ids if trainer.strategy.root_device.type == "cuda" else 1,
            precision=trainer.precision,
            accumulate_grad_batches=trainer.accumulate_grad_batches,
            gradient_clip_val=trainer.gradient_clip_val,
            max_epochs=steps * trainer.accumulate_grad_batches,  # an epoch can be as short as one batch
            max_steps=steps,
            limit_train_batches=trainer.limit_train_batches,
            limit_val_batches=0,
            callbacks=[StepSeed(0), *([sweep] if sweep else [])],
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=nowhere,
        )
        before = data.trainer
        try:
            scratch.fit(copy.deepcopy(module), datamodule=data)
        finally:
            data.trainer = before
