"""AdamW as the authors set it up: which parameters decay, and a warm-up and a cosine by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from dat_cli.errors import UsageError

WARMUP_SHARE = 20 / 300  # warm-up epochs of all epochs in both papers
WARMUP_START = 1e-3  # the papers warm up from 5e-7 to 5e-4
FLOOR = 1e-2  # and end at 5e-6


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate over a run."""

    lr: float = 5e-4
    """Highest learning rate, reached after the warm-up; the papers use 5e-4 for each 512 images of a batch."""
    weight_decay: float = 0.05
    """Weight decay of matrices and kernels; biases, norms and tables of position bias do not decay."""
    beta1: float = 0.9
    """Decay of the running mean of gradients."""
    beta2: float = 0.999
    """Decay of the running mean of squared gradients."""
    eps: float = 1e-8
    """Added to the denominator of a step."""
    warmup_epochs: float | None = None
    """Epochs of linear warm-up from a thousandth of lr; null: the papers' share, 20 of 300."""
    min_lr: float | None = None
    """Learning rate at the end of the cosine; null: a hundredth of lr, as in the papers."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"model.optimizer.{field.name} is {value}, not a number from 0 up")
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise UsageError(f"model.optimizer.{name} is {getattr(self, name)}, not below 1")
        if self.lr == 0 or self.eps == 0:
            raise UsageError(f"model.optimizer.{'lr' if self.lr == 0 else 'eps'} is 0, not above it")
        if self.min_lr is not None and self.min_lr > self.lr:
            raise UsageError(f"model.optimizer.min_lr {self.min_lr} is above model.optimizer.lr {self.lr}")


def build_optimizer(
    network: nn.Module, config: OptimizerConfig, *, steps: int, epochs: float
) -> tuple[AdamW, LambdaLR]:
    """The optimizer of a run and its schedule, to be stepped after each batch.

    Args:
        network: What is trained.
        config: Learning rate and the like.
        steps: Optimizer steps of the whole run.
        epochs: Epochs of the whole run, which the warm-up is measured in.
    """
    groups = parameter_groups(network, config.weight_decay)
    # On a CPU one fused loop is several times faster; on a GPU it would forbid clipping under float16.
    fused = all(parameter.device.type == "cpu" for parameter in network.parameters())
    optimizer = AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=fused)
    share = WARMUP_SHARE if config.warmup_epochs is None else config.warmup_epochs / max(epochs, 1e-9)
    floor = FLOOR if config.min_lr is None else config.min_lr / config.lr
    return optimizer, LambdaLR(optimizer, warmup_cosine(steps, warmup=round(min(share, 1.0) * steps), floor=floor))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameters in two groups: those that decay, and one-dimensional ones, biases and tables that do not.

    A network names its tables in ``no_weight_decay()``. The tables of neighbourhood attention are not among
    them: the published weights were trained with decay on these.
    """
    spared: set[str] = network.no_weight_decay() if hasattr(network, "no_weight_decay") else set()  # type: ignore[operator]  # nn.Module types any attribute as a Tensor
    decay: list[nn.Parameter] = []
    keep: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        spare = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
        (keep if spare else decay).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": keep, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def warmup_cosine(steps: int, *, warmup: int, floor: float) -> Callable[[int], float]:
    """Factor of the learning rate at a step: linear up over ``warmup`` steps, then half a cosine to ``floor``."""

    def factor(step: int) -> float:
        if step < warmup:
            return WARMUP_START + (1 - WARMUP_START) * step / warmup
        # The last step of the run is the lowest point; with no step after the warm-up it stays at the top.
        progress = min((step - warmup) / max(steps - 1 - warmup, 1), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
