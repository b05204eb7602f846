"""AdamW as the authors set it up: which parameters decay, and a warm-up and a cosine by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

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
    """Highest learning rate, which the warm-up rises to; the papers use 5e-4 for each 512 images of a batch."""
    lr_batch_size: int | None = None
    """Images in a batch that lr, warmup_lr and min_lr are meant for: they grow and fall with the true batch, which is
    that of all devices, nodes and accumulated steps together; null: they are taken as given."""
    weight_decay: float = 0.05
    """Weight decay of matrices and kernels; biases, norms and tables of position bias do not decay."""
    beta1: float = 0.9
    """Decay of the running mean of gradients."""
    beta2: float = 0.999
    """Decay of the running mean of squared gradients."""
    eps: float = 1e-8
    """Added to the denominator of a step."""
    warmup_epochs: float | None = None
    """Epochs of linear warm-up; null: the papers' share, 20 of 300."""
    warmup_lr: float | None = None
    """Learning rate that the warm-up starts at; null: a thousandth of lr, as in the papers."""
    min_lr: float | None = None
    """Learning rate at the end of the cosine; null: a hundredth of lr, as in the papers."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block to the one before it, for fine-tuning; the head has the whole rate,
    the stem the smallest; 1: the same rate everywhere."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"model.optimizer.{field.name} is {value}, not a number from 0 up")
        for name in ("lr", "lr_batch_size", "eps", "layer_decay"):
            if getattr(self, name) == 0:
                raise UsageError(f"model.optimizer.{name} is 0, not above it")
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise UsageError(f"model.optimizer.{name} is {getattr(self, name)}, not below 1")
        if self.layer_decay > 1:
            raise UsageError(f"model.optimizer.layer_decay is {self.layer_decay}, not at most 1")
        for name in ("warmup_lr", "min_lr"):
            if (value := getattr(self, name)) is not None and value > self.lr:
                raise UsageError(f"model.optimizer.{name} {value} is above model.optimizer.lr {self.lr}")


def build_optimizer(
    network: nn.Module, config: OptimizerConfig, *, steps: int, epochs: float, total_batch: int
) -> tuple[AdamW, LambdaLR]:
    """The optimizer of a run and its schedule, to be stepped after each step of the optimizer.

    Args:
        network: What is trained; parameters that need no gradient are left out.
        config: Learning rate and the like.
        steps: Optimizer steps of the whole run.
        epochs: Epochs of the whole run, which the warm-up is measured in.
        total_batch: Images that one step of the optimizer learns from, over all devices and nodes.
    """
    lr = config.lr if config.lr_batch_size is None else config.lr * total_batch / config.lr_batch_size
    groups = parameter_groups(network, config.weight_decay, layer_decay=config.layer_decay)
    for group in groups:
        group["lr"] = lr * group.pop("lr_scale", 1.0)
    # On a CPU one fused loop is several times faster; on a GPU it would forbid clipping under float16.
    fused = all(parameter.device.type == "cpu" for parameter in network.parameters())
    optimizer = AdamW(groups, lr=lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=fused)
    # Lightning refuses to clip in mixed precision where an optimizer unscales gradients itself, as a fused one would
    # for a GradScaler. On a CPU there is none.
    optimizer._step_supports_amp_scaling = False
    share = WARMUP_SHARE if config.warmup_epochs is None else config.warmup_epochs / max(epochs, 1e-9)
    factor = warmup_cosine(
        steps,
        warmup=round(min(share, 1.0) * steps),
        start=WARMUP_START if config.warmup_lr is None else config.warmup_lr / config.lr,
        floor=FLOOR if config.min_lr is None else config.min_lr / config.lr,
    )
    return optimizer, LambdaLR(optimizer, factor)


def parameter_groups(network: nn.Module, weight_decay: float, *, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Parameters that decay apart from one-dimensional ones, biases and tables, which do not.

    A network names its tables in ``no_weight_decay()``. The tables of neighbourhood attention are not among
    them: the published weights were trained with decay on these.

    Args:
        network: Whose parameters; those that need no gradient are left out.
        weight_decay: Of those that decay.
        layer_decay: Below 1 the groups are also apart by depth, as the network's ``group_matcher`` tells it, and have
            an ``lr_scale``; those with the whole rate come first.
    """
    spared: set[str] = network.no_weight_decay() if hasattr(network, "no_weight_decay") else set()  # type: ignore[operator]  # nn.Module types any attribute as a Tensor
    if layer_decay < 1:
        from timm.optim._param_groups import param_groups_layer_decay  # brings all of timm's optimizers along

        layers = param_groups_layer_decay(network, weight_decay, spared, layer_decay=layer_decay)
        return sorted(layers, key=lambda group: -group["lr_scale"])
    decay: list[nn.Parameter] = []
    keep: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        spare = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
        (keep if spare else decay).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": keep, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def warmup_cosine(steps: int, *, warmup: int, start: float, floor: float) -> Callable[[int], float]:
    """Factor of the learning rate at each step, counted from 0.

    It rises in a line from ``start`` over ``warmup`` steps, and then follows half a cosine to ``floor``. The cosine is
    that of the whole run: it is counted from the first step, so that the factor is a little below 1 where the warm-up
    ends. This is timm's ``CosineLRScheduler`` without ``warmup_prefix``, as the authors set it up. Their loop sets the
    rate after each step by the number of the step just made, so that it comes one step later than here, where a step
    has the rate of its own number.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return start + (1 - start) * step / warmup
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))

    return factor
