"""Uneven classes: weights by which rare ones count as much as frequent ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weight of each class in the loss: inverse to its frequency, with a mean of 1 over the samples.

    Args:
        counts: Samples of each class. A class without samples is weighted as if it had one.

    Returns:
        (number of classes,) float32.
    """
    samples = torch.tensor(counts, dtype=torch.float64)
    present = int((samples > 0).sum())
    return (samples.sum() / (max(present, 1) * samples.clamp(min=1))).float()
