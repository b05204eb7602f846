"""Mixup and CutMix: learn from blends of two pictures, and from one with a part of another in it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dat_cli.errors import UsageError


@dataclass(frozen=True)
class MixingConfig:
    """Mixup and CutMix of the pictures of a batch."""

    mixup: float = 0.0
    """Strength of mixup, the parameter of its beta distribution; 0: none; the papers use 0.8."""
    cutmix: float = 0.0
    """Strength of CutMix, the parameter of its beta distribution; 0: none; the papers use 1."""
    switch_prob: float = 0.5
    """Probability of CutMix instead of mixup where both are on."""
    prob: float = 1.0
    """Probability that a batch is mixed at all."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, is_share = getattr(self, field.name), field.name.endswith("prob")
            if not 0 <= value <= (1 if is_share else 100):
                raise UsageError(
                    f"model.mixing.{field.name} is {value}", hint=f"it must be from 0 to {1 if is_share else 100}"
                )

    @property
    def mixes(self) -> bool:
        """Whether any batch is mixed."""
        return self.prob > 0 and (self.mixup > 0 or self.cutmix > 0)


class Mixing:
    """timm's mixing of whole batches: one draw for all pictures of a batch, each with its partner from the other end.

    Draws come from NumPy's generator.

    Args:
        config: What is mixed how much.
        classes: How many there are.
        label_smoothing: Share of the target that is spread over all classes.
    """

    def __init__(self, config: MixingConfig, classes: int, label_smoothing: float) -> None:
        from timm.data.mixup import Mixup  # a second to import

        self._mix = Mixup(
            mixup_alpha=config.mixup,
            cutmix_alpha=config.cutmix,
            switch_prob=config.switch_prob,
            prob=config.prob if config.mixes else 0.0,
            mode="batch",
            label_smoothing=label_smoothing,
            num_classes=classes,
        )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed pictures and the share of each class in them.

        Args:
            images: (B, C, H, W); left as they are.
            labels: (B,).

        Returns:
            Images (B, C, H, W) and targets (B, number of classes), whose rows sum to 1.
        """
        half, is_odd = len(images) // 2, len(images) % 2
        if not is_odd:
            mixed, targets = self._mix(images.clone(), labels)
            return mixed, targets
        # timm refuses odd batches: the picture in the middle is its own partner, so it is given twice and taken once
        mixed, targets = self._mix(_twice(images, half), _twice(labels, half))
        return _once(mixed, half), _once(targets, half)


def _twice(values: Tensor, index: int) -> Tensor:
    return torch.cat([values[: index + 1], values[index:]])


def _once(values: Tensor, index: int) -> Tensor:
    return torch.cat([values[:index], values[index + 1 :]])
