"""A batch size that fits and a learning rate that suits, found by short trials."""

from __future__ import annotations

import logging
import math

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error

from dat_cli.data.module import ImageDataModule
from dat_cli.errors import UsageError
from dat_cli.train.classification import Classification
from dat_cli.train.memory import free_memory, most_used
from dat_cli.train.rates import RateTrial, Sweep, suggested
from dat_cli.train.trial import trial

STEPS = 100  # of the search for a learning rate
LARGEST_BATCH = 4096
LEAST_STEPS = 10  # of an epoch: fewer teach less than memory allows
_TRIAL_STEPS = 2  # the second one has the optimizer's moments as well

log = logging.getLogger("dat.fit")


def find_lr(trainer: Trainer, module: Classification, data: ImageDataModule, *, steps: int = STEPS) -> RateTrial:
    """Train a copy with a rate that grows exponentially, until the loss is several times the best.

    Args:
        trainer: Of the run, for its device, precision, accumulation and clipping.
        module: What will be trained; stays as it is.
        data: Its images.
        steps: Steps from the lowest to the highest rate.

    Returns:
        Rates as ``model.optimizer.lr`` has them, before they are scaled to the batch.

    Raises:
        UsageError: There are several processes, or the loss never fell.
    """
    _require_one_process(trainer, "find_lr")
    sweep = Sweep(steps)
    trial(trainer, module, data, steps=steps, sweep=sweep)
    suggestion = suggested(sweep.rates, sweep.losses)
    if suggestion is None:
        raise UsageError("--find_lr: the loss fell at no learning rate", hint="choose --model.optimizer.lr")
    config = module.optimizer_config
    batch = data.batch_size * trainer.accumulate_grad_batches
    scale = 1.0 if config.lr_batch_size is None else config.lr_batch_size / batch
    rates = tuple(rate * scale for rate in sweep.rates)
    return RateTrial(rates, tuple(sweep.losses), float(f"{suggestion * scale:.2g}"))


def find_batch_size(trainer: Trainer, module: Classification, data: ImageDataModule) -> int:
    """The largest batch that trains, by doubling the given one, or halving it where that is too large already.

    A GPU says when its memory is full. A CPU does not: there no batch is tried that would need more than four fifths
    of what is free.

    Args:
        trainer: Of the run, for its device, precision and accumulation.
        module: What will be trained; stays as it is.
        data: Its images, of whose ``batch_size`` the search starts.

    Returns:
        Images in a batch; not more than there are training images.

    Raises:
        UsageError: There are several processes, or not even one image fits.
    """
    _require_one_process(trainer, "find_batch_size")
    largest = min(LARGEST_BATCH, max(sum(data.class_counts) // LEAST_STEPS, 1))
    room = 0.8 * free_memory() if trainer.strategy.root_device.type == "cpu" else math.inf
    start = most_used()
    size, fits = min(data.batch_size, largest), 0
    while size > fits:
        if fits and (most_used() - start) * size / fits > room:
            log.info("batch size %d would take more memory than is free", size)
            break
        if _fits(trainer, module, data, size):
            fits, size = size, min(2 * size, largest)
        elif fits:
            break
        else:
            size //= 2
    if not fits:
        raise UsageError(
            "--find_batch_size: not even one image fits into memory",
            hint="lower the image size, or give --model.grad_checkpointing true",
        )
    return fits


def _fits(trainer: Trainer, module: Classification, data: ImageDataModule, size: int) -> bool:
    given, data.batch_size = data.batch_size, size
    try:
        trial(trainer, module, data, steps=_TRIAL_STEPS)
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or is_oom_error(error)):
            raise
        log.info("batch size %d does not fit into memory", size)
        return False
    finally:
        data.batch_size = given
        garbage_collection_cuda()
    log.info("batch size %d fits", size)
    return True


def _require_one_process(trainer: Trainer, option: str) -> None:
    if trainer.world_size > 1:
        raise UsageError(
            f"--{option} works in one process, not in {trainer.world_size}",
            hint="find the number with --trainer.devices 1, and give it to the run on many",
        )
