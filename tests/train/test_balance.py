"""Uneven classes, made even."""

from __future__ import annotations

import pytest
import torch

from dat_cli.train.balance import class_weights


def test_rare_classes_weigh_as_much_together_as_frequent_ones() -> None:
    counts = [900, 90, 10]
    weights = class_weights(counts)
    shares = weights * torch.tensor(counts)
    assert shares.tolist() == pytest.approx([1000 / 3] * 3)
    assert shares.sum().item() / 1000 == pytest.approx(1)  # the learning rate means what it meant before


def test_even_classes_are_not_weighted() -> None:
    assert class_weights([7, 7, 7]).tolist() == [1.0, 1.0, 1.0]


def test_a_class_without_samples_has_a_finite_weight() -> None:
    weights = class_weights([4, 0, 4])
    assert torch.isfinite(weights).all()
    assert weights[[0, 2]].tolist() == [1.0, 1.0]
