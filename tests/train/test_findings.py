"""What a measurement finds out, in one process and in two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from dat_cli.catalog import Preprocessing
from dat_cli.report.findings import Findings
from dat_cli.train.findings import FindingsCollector

CLASSES = ("a", "b", "c")
PREPROCESSING = Preprocessing((3, 8, 8))

SECOND = """
import sys
from torch import distributed
from tests.train.test_findings import collect
distributed.init_process_group("gloo", init_method=sys.argv[1], rank=1, world_size=2)
collect(range(1, 40, 2)).compute()
distributed.destroy_process_group()
"""


def batch(indices: range) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Pictures, logits, labels and names that depend on the index alone."""
    rows = []
    for index in indices:
        generator = torch.Generator().manual_seed(index)
        rows.append((torch.rand(3, 8, 8, generator=generator), 3 * torch.randn(3, generator=generator)))
    images, logits = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return images, logits, torch.tensor([index % 3 for index in indices]), [f"{index}.png" for index in indices]


def collect(indices: range, worst: int = 6, size: int = 4) -> FindingsCollector:
    """Findings of these pictures in small batches."""
    collector = FindingsCollector(CLASSES, "val", worst=worst)
    for start in range(0, len(indices), size):
        collector.update(*batch(indices[start : start + size]), PREPROCESSING)
    return collector


@pytest.fixture(scope="module")
def found() -> Findings:
    """Of forty pictures in one process."""
    return collect(range(40)).compute({"val_acc1": 0.5})


def test_the_confusion_counts_every_picture_once(found: Findings) -> None:
    _, logits, labels, _ = batch(range(40))
    expected = np.zeros((3, 3), np.int64)
    np.add.at(expected, (labels.numpy(), logits.argmax(1).numpy()), 1)
    assert np.array_equal(found.confusion, expected)
    assert found.scores == {"acc1": 0.5}


def test_the_mistakes_are_those_the_network_was_most_certain_of(found: Findings) -> None:
    _, logits, labels, names = batch(range(40))
    probabilities = logits.softmax(1)
    certainty, predicted = probabilities.max(1)
    wrong = [index for index in certainty.argsort(descending=True).tolist() if predicted[index] != labels[index]]
    assert [mistake.name for mistake in found.mistakes] == [names[index] for index in wrong[:6]]
    first = found.mistakes[0]
    assert (first.truth, first.predicted) == (labels[wrong[0]].item(), predicted[wrong[0]].item())
    assert first.probability == pytest.approx(certainty[wrong[0]].item())
    assert first.truth_probability == pytest.approx(probabilities[wrong[0], first.truth].item())


def test_the_division_into_batches_changes_nothing(found: Findings) -> None:
    assert_same(collect(range(40), size=40).compute(), found)
    assert_same(collect(range(40), size=1).compute(), found)


def test_two_processes_find_what_one_does(found: Findings, tmp_path: Path) -> None:
    address = f"file://{tmp_path / 'meeting'}"
    with subprocess.Popen([sys.executable, "-c", SECOND, address], cwd=Path(__file__).parents[2]) as other:
        distributed.init_process_group("gloo", init_method=address, rank=0, world_size=2)
        try:
            both = collect(range(0, 40, 2)).compute()
            assert other.wait(timeout=60) == 0
        finally:
            distributed.destroy_process_group()
            other.kill()
    assert_same(both, found)


def test_padding_counts_for_nothing() -> None:
    images, logits, labels, names = batch(range(8))
    labels[5:] = -1
    collector = FindingsCollector(CLASSES, "val")
    collector.update(images, logits, labels, [*names[:5], "", "", ""], PREPROCESSING)
    assert_same(collector.compute(), collect(range(5), size=5).compute())


def test_pictures_are_shown_as_they_were_before_they_were_normalised() -> None:
    shown = torch.randint(0, 256, (1, 3, 8, 8)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    collector = FindingsCollector(CLASSES, "val")
    collector.update((shown / 255 - mean) / std, torch.eye(3)[:1], torch.tensor([1]), ["x"], PREPROCESSING)
    assert np.array_equal(collector.compute().mistakes[0].image, shown[0].permute(1, 2, 0).to(torch.uint8).numpy())


@pytest.mark.parametrize(("channels", "height", "width", "shape"), [(1, 8, 8, (8, 8, 3)), (3, 480, 240, (160, 80, 3))])
def test_pictures_have_colours_and_are_small(channels: int, height: int, width: int, shape: tuple[int, ...]) -> None:
    preprocessing = Preprocessing((channels, height, width), (0.5,) * channels, (0.5,) * channels)
    collector = FindingsCollector(CLASSES, "val")
    images = torch.zeros(1, channels, height, width)
    collector.update(images, torch.eye(3)[:1], torch.tensor([1]), ["x"], preprocessing)
    image = collector.compute().mistakes[0].image
    assert image.shape == shape
    assert set(image.ravel().tolist()) == {128}


def test_a_network_that_has_diverged_is_measured_too() -> None:
    collector = FindingsCollector(CLASSES, "val")
    images = torch.full((4, 3, 8, 8), torch.nan)
    collector.update(images, torch.full((4, 3), torch.nan), torch.tensor([0, 1, 2, 2]), list("abcd"), PREPROCESSING)
    assert collector.compute().images == 4


def test_after_a_reset_nothing_is_left() -> None:
    collector = collect(range(8))
    collector.reset()
    assert collector.compute().images == 0
    assert collector.compute().mistakes == ()


def assert_same(one: Findings, other: Findings) -> None:
    assert np.array_equal(one.confusion, other.confusion)
    assert [mistake.name for mistake in one.mistakes] == [mistake.name for mistake in other.mistakes]
    for mine, theirs in zip(one.mistakes, other.mistakes, strict=True):
        assert np.array_equal(mine.image, theirs.image)
