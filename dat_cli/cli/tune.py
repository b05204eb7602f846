"""``--find_batch_size`` and ``--find_lr``: numbers that are found before the run, which then has them as options."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from dat_cli.data.module import ImageDataModule
from dat_cli.train.callbacks import RunFolder
from dat_cli.train.callbacks.rate_trial import KeepTrial
from dat_cli.train.classification import Classification
from dat_cli.train.tuning import find_batch_size, find_lr

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

log = logging.getLogger("dat.fit")


def tune(
    options: Namespace, trainer: Trainer, module: Classification, data: ImageDataModule, folder: RunFolder | None
) -> None:
    """Find what is asked for and put it in its place, in the options too, as if it had been given.

    Args:
        options: Of the command; those that asked are off afterwards.
        trainer: Of the run.
        module: What will be trained.
        data: Its images.
        folder: Where the curve of the learning rate is kept.

    Raises:
        UsageError: There are several processes, or nothing suits.
    """
    if options.find_batch_size:
        data.batch_size = options.data.batch_size = find_batch_size(trainer, module, data)
        options.find_batch_size = False
        log.info("--data.batch_size %d", data.batch_size)
    if options.find_lr:
        found = find_lr(trainer, module, data)
        module.optimizer_config = replace(module.optimizer_config, lr=found.suggestion)
        options.model.optimizer.lr = found.suggestion
        options.find_lr = False
        log.info("--model.optimizer.lr %g", found.suggestion)
        if folder is not None:
            # After the folder's own callback, which makes it.
            trainer.callbacks.append(KeepTrial(found, folder))  # type: ignore[attr-defined]  # set by a part of it
