"""A temperature: the best one, honestly measured, whatever the images are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

from dat_cli.errors import DatError
from dat_cli.report.reliability import BINS
from dat_cli.train.calibration import calibrate, fit_temperature


def sure(images: int, classes: int, *, factor: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels that are drawn from their very probabilities, but for a factor of certainty."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return logits * factor, labels


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor_of_certainty(factor: float) -> None:
    found = calibrate(*sure(4000, 10, factor=factor))
    assert found.temperature == pytest.approx(factor, rel=0.06)
    assert found.after is not None
    assert found.after.ece < 0.04
    assert found.after.nll <= found.before.nll + 1e-3
    if factor != 1:
        assert found.before.ece > 0.1


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, labels = sure(500, 7, factor=1.7)
    best = fit_temperature(logits, labels)
    losses = [cross_entropy(logits / (best * scale), labels).item() for scale in (0.95, 0.99, 1.0, 1.01, 1.05)]
    assert min(losses) == losses[2]


def test_many_logits_are_worked_on_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = sure(300, 7, factor=1.7)
    whole = calibrate(logits, labels)
    monkeypatch.setattr("dat_cli.train.calibration._AT_ONCE", 70)
    assert calibrate(logits, labels).temperature == whole.temperature


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    logits, labels = sure(2000, 10, factor=2.0)
    error = multiclass_calibration_error(logits.double().softmax(1), labels, num_classes=10, n_bins=BINS)
    found = calibrate(logits, labels).before
    assert found.ece == pytest.approx(error.item(), abs=1e-6)
    assert found.images.sum() == 2000
    assert found.nll == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)


def test_each_half_is_measured_with_the_temperature_of_the_other() -> None:
    halves = [sure(1000, 5, factor=factor, seed=seed) for seed, factor in ((1, 3.0), (2, 0.5))]
    mixed = [torch.stack(both, dim=1).flatten(0, 1) for both in zip(*halves, strict=True)]
    found = calibrate(*mixed)
    (first, first_labels), (second, second_labels) = halves
    expected = (
        cross_entropy(first / fit_temperature(second, second_labels), first_labels)
        + cross_entropy(second / fit_temperature(first, first_labels), second_labels)
    ) / 2
    assert found.after is not None
    assert found.after.nll == pytest.approx(expected.item(), rel=1e-5)
    assert found.after.nll > found.before.nll  # what misleads is not hidden


@pytest.mark.parametrize(
    ("logits", "labels", "temperature"),
    [
        ([[3.0], [1.0]], [0, 0], 1.0),  # one class
        ([[3.0, 1.0], [1.0, 2.0], [9.0, 0.0]], [0, 1, 0], 1.0),  # all right
        ([[3.0, 1.0], [1.0, 2.0]], [1, 0], 20.0),  # all wrong
        ([[0.0, 0.0], [0.0, 0.0]], [1, 0], 20.0),  # nothing known
        ([[5.0, -5.0], [5.0, -5.0], [-5.0, 5.0]], [0, 1, 1], 14.427),  # 2 of 3 right: 10 / T = ln 2
    ],
)
def test_few_images_have_a_temperature_too(logits: list[list[float]], labels: list[int], temperature: float) -> None:
    found = calibrate(torch.tensor(logits), torch.tensor(labels))
    assert found.temperature == pytest.approx(temperature, rel=1e-4)
    assert found.determined == (temperature != 1.0)
    assert found.after is not None


def test_a_single_image_cannot_be_measured_with_another() -> None:
    found = calibrate(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    assert found.after is None
    assert found.before.ece == pytest.approx(1 / (1 + 2.718281828**-1), rel=1e-6)


def test_certainty_of_one_lies_in_the_last_bin() -> None:
    found = calibrate(torch.tensor([[500.0, 0.0], [500.0, 0.0]]), torch.tensor([0, 1]))
    assert found.before.images.tolist() == [0] * (BINS - 1) + [2]
    assert found.before.ece == pytest.approx(0.5)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(DatError, match="not finite"):
        calibrate(torch.tensor([[1.0, torch.nan]]), torch.tensor([0]))
