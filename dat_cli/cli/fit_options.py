"""The options of ``dat fit`` beside those of network, data and trainer, and which options go together."""

from __future__ import annotations

import logging
from typing import Literal

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.base import add_owner
from dat_cli.errors import UsageError

Logger = Literal["tensorboard", "wandb"]

_ROUNDED_AWAY = 0.99  # the part of a step in an average that bfloat16, with eight bits, no longer sees

log = logging.getLogger("dat.fit")


def add_options(parser: LightningArgumentParser) -> None:
    """Where to start, what is kept, and what is found out first."""
    start = parser.add_argument_group("Where to start and where to write")
    start.add_argument(
        "--weights", type=str | None, help="Start from these: a run, a file, owner/name on the Hub, a variant."
    )
    add_owner(start)
    start.add_argument(
        "--resume", type=str | None, help="Go on with this run, in its own folder and with its own options."
    )
    start.add_argument(
        "--name", type=str | None, help="Name of the run; default: that of the config, or the architecture."
    )
    start.add_argument("--output_dir", type=str, default="runs", help="Folder of all runs.")
    keep = parser.add_argument_group("What is kept, and when to stop")
    keep.add_argument(
        "--ema_decay",
        type=float | None,
        help="Average weights over steps with this decay, such as 0.9999, and measure and keep the average.",
    )
    keep.add_argument(
        "--patience", type=int | None, help="Stop after so many validations without a better top-1 accuracy."
    )
    keep.add_argument(
        "--save_minutes", type=float, default=30.0, help="Minutes between two checkpoints within an epoch."
    )
    keep.add_argument(
        "--loggers",
        type=Logger | list[Logger],
        default=[],
        help="Who else is told the numbers of metrics.csv: tensorboard, wandb.",
    )
    find = parser.add_argument_group("What is found out first")
    find.add_argument(
        "--find_batch_size", type=bool, default=False, help="Train with the largest batch that fits into memory."
    )
    find.add_argument(
        "--find_lr",
        type=bool,
        default=False,
        help="Train with a tenth of the learning rate at which the loss of a trial is lowest.",
    )


def check_options(options: Namespace, *, starts_from_something: bool) -> None:
    """Refuse options that do not go together, and warn of those that can hardly be meant.

    Args:
        options: Of the command; loggers become a list.
        starts_from_something: From weights or an earlier run.

    Raises:
        UsageError: Says which.
    """
    if isinstance(options.loggers, str):
        options.loggers = [options.loggers]
    for name, least in (("patience", 1), ("save_minutes", 0)):
        if options[name] is not None and not options[name] >= least:
            raise UsageError(f"--{name} is {options[name]}, not at least {least}")
    if options.patience is not None and options.trainer.limit_val_batches == 0:
        raise UsageError("--patience needs validations, but trainer.limit_val_batches is 0", hint="--patience null")
    if options.ema_decay is not None and options.trainer.strategy == "fsdp":
        raise UsageError("--ema_decay needs whole weights in each process", hint="give --trainer.strategy ddp")
    if (options.ema_decay or 0) >= _ROUNDED_AWAY and str(options.trainer.precision) == "bf16-true":
        raise UsageError(
            "--ema_decay is lost in bf16-true, which rounds away what a step adds to an average",
            hint="give --trainer.precision bf16-mixed",
        )
    if options.data.sampling == "balanced" and options.model.class_weights == "balanced":
        raise UsageError(
            "data.sampling and model.class_weights are both balanced, which favours rare classes twice",
            hint="give one of them",
        )
    optimizer = options.model.optimizer
    if optimizer.layer_decay < 1 and not starts_from_something:
        log.warning("model.optimizer.layer_decay is for networks that know something: see --weights")
    warmup, epochs = optimizer.warmup_epochs, options.trainer.max_epochs
    if warmup is not None and epochs is not None and 0 < epochs <= warmup:
        log.warning(
            "the learning rate rises for %g epochs, but there are %d: it never reaches its height", warmup, epochs
        )
