"""What is taken from a stranger's checkpoint besides its tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dat_cli.run.foreign import _metrics


@pytest.mark.parametrize("best", [82.04, torch.tensor(82.04, dtype=torch.float64)])
def test_the_best_accuracy_becomes_a_fraction(best: Any) -> None:
    assert _metrics({"max_accuracy": best}) == {"val_acc1": pytest.approx(0.8204)}


@pytest.mark.parametrize("best", [10**400, -(10**400), float("inf"), float("nan"), True, torch.zeros(2), None])
def test_what_is_no_accuracy_in_percent_is_left_out(best: Any) -> None:
    assert _metrics({"max_accuracy": best}) == {}
