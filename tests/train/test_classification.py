"""What a validation measures."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torchmetrics.functional.classification import multiclass_f1_score

from dat_cli.catalog import Preprocessing
from dat_cli.train.classification import Classification


def test_scores_are_right_after_a_first_batch_without_mistakes() -> None:
    module = Classification([f"class {index}" for index in range(10)], Preprocessing((3, 32, 32)))
    labels = torch.arange(10)
    right = F.one_hot(labels, 10).float()
    wrong = right.roll(1, dims=1) + 0.5 * right  # the right class comes second
    for logits in (right, wrong):
        module.val_scores.update(logits, labels)
    scores = {name: value.item() for name, value in module.val_scores.compute().items() if name != "val_loss"}
    f1 = multiclass_f1_score(torch.cat([right, wrong]), labels.repeat(2), num_classes=10, average="macro").item()
    assert scores == {"val_acc1": 0.5, "val_acc5": 1.0, "val_f1": pytest.approx(f1)}
    assert f1 == pytest.approx(0.5)


def test_the_loss_is_a_mean_over_pictures_not_over_batches() -> None:
    module = Classification(["a", "b"], Preprocessing((3, 32, 32)))
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 0, 1])
    for share in (slice(0, 2), slice(2, 3)):
        module.val_scores.update(logits[share], labels[share])
    expected = F.cross_entropy(logits, labels).item()
    assert module.val_scores.compute()["val_loss"].item() == pytest.approx(expected)
