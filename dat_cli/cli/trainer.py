"""The trainer's options: what Lightning takes without a word and fails on later, said before anything starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from torch import cuda
from torch.backends import mps

from dat_cli.errors import UsageError
from dat_cli.train.strategies import strategy_named

_COUNT_OR_SHARE = {
    f"trainer.{name}"
    for name in (
        "limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches", "val_check_interval",
    )
}  # fmt: skip
_LEAST = {"accumulate_grad_batches": 1, "gradient_clip_val": 0}
_SCALED = ("16", "16-mixed")  # float16 whose gradients are scaled, for which PyTorch has no CPU kernels
_LONGEST = 200  # characters of what Lightning says


def check_trainer(options: Namespace) -> None:
    """Refuse options that do not go together, or ask for what the machine lacks.

    Raises:
        UsageError: Says which one, and what would do.
    """
    check_devices(options.accelerator, options.devices)
    check_numbers(options)
    if on_cpu(options.accelerator) and str(options.precision) in _SCALED:
        raise UsageError(f"trainer.precision {options.precision} needs a GPU", hint="a CPU takes 32-true or bf16-mixed")
    if options.strategy == "fsdp" and str(options.precision) in _SCALED:
        raise UsageError(
            f"trainer.precision {options.precision} does not go with trainer.strategy fsdp",
            hint="give bf16-mixed or 32-true, or the strategy ddp",
        )


def trainer_arguments(options: Namespace) -> dict[str, Any]:
    """What the trainer is given instead of what the options say: the strategy, and what the launcher decides.

    Of the options themselves, and so of a run's ``config.yaml``, nothing changes.

    Raises:
        UsageError: There is no such strategy.
    """
    named = isinstance(options.strategy, str)
    return {
        **({"strategy": strategy_named(options.strategy)} if named else {}),
        **{name: value for name, value in launched(os.environ).items() if options[name] in ("auto", 1)},
    }


def launched(environment: Mapping[str, str]) -> dict[str, int]:
    """Processes on each node and number of nodes where torchrun or Slurm has started them; nothing elsewhere."""
    if "TORCHELASTIC_RUN_ID" in environment:
        each = int(environment["LOCAL_WORLD_SIZE"])
        return {"devices": each, "num_nodes": int(environment["WORLD_SIZE"]) // each}
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return {"devices": int(environment.get("SLURM_NTASKS_PER_NODE", "1")), "num_nodes": nodes}
    return {}


def prefer_counts(parser: LightningArgumentParser) -> None:
    """Read 1 as one batch and 1.0 as all of them.

    Lightning's type is Union[int, float], but Python keeps one object for it and Union[float, int], and whichever
    library came first decides on the order in which a value is tried.
    """
    for action in parser._actions:
        if action.dest in _COUNT_OR_SHARE:
            action._typehint = int | float | None  # type: ignore[attr-defined]  # of jsonargparse's own actions


def check_devices(accelerator: object, devices: object) -> None:
    """Refuse more processes than the CPU has cores: Lightning starts any number of them, which ends in a standstill.

    Raises:
        UsageError: There are too many.
    """
    wanted = int(devices) if isinstance(devices, int | str) and str(devices).isdecimal() else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if on_cpu(accelerator) and wanted > cores:
        raise UsageError(f"trainer.devices is {wanted}, but there is no GPU and the CPU has {cores} cores")


def on_cpu(accelerator: object) -> bool:
    """Whether the network will run on the CPU."""
    return accelerator == "cpu" or (accelerator == "auto" and not (cuda.is_available() or mps.is_available()))


def check_numbers(trainer: Namespace) -> None:
    """Refuse numbers that Lightning takes, only to divide by zero or to climb the gradient later.

    Raises:
        UsageError: One is out of its range.
    """
    for name, least in _LEAST.items():
        value = trainer.get(name)
        if value is not None and value < least:
            raise UsageError(f"trainer.{name} is {value}, not at least {least}")


def names_an_option(error: ValueError, trainer: Namespace) -> bool:
    """Whether Lightning blames an option: then its message begins with it, as in "`val_check_interval` (99) must"."""
    found = re.match(r"\s*`(\w+)`", str(error))
    return found is not None and found[1] in trainer


def in_one_line(error: Exception) -> str:
    """What an error of Lightning says, without most of the advice on Python code that follows."""
    text = " ".join(str(error).split())
    return text.rstrip(".") if len(text) <= _LONGEST else f"{text[:_LONGEST].rpartition(' ')[0]} ..."
