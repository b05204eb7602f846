"""What mixed batches and their targets are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from dat_cli.data.randomness import seeded
from dat_cli.errors import UsageError
from dat_cli.train.mixing import Mixing, MixingConfig

PAPERS = MixingConfig(mixup=0.8, cutmix=1.0)
CLASSES = 4


@pytest.fixture(params=[1, 2, 5, 8])
def batch(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """Each picture is filled with its own index."""
    count = request.param
    return torch.arange(count).float()[:, None, None, None].expand(count, 3, 16, 16).clone(), torch.arange(
        count
    ) % CLASSES


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_of_the_papers_is_timms(seed: int) -> None:
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 1, 2, 3, 0, 1])
    theirs = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)
    with seeded(seed):
        expected = theirs(images.clone(), labels)
    with seeded(seed):
        mixed = Mixing(PAPERS, CLASSES, 0.1)(images, labels)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=0)


@pytest.mark.parametrize("config", [MixingConfig(mixup=0.8), MixingConfig(cutmix=1.0), PAPERS])
@pytest.mark.parametrize("seed", range(4))
def test_targets_are_the_shares_of_what_is_in_the_pictures(
    batch: tuple[Tensor, Tensor], config: MixingConfig, seed: int
) -> None:
    images, labels = batch
    with seeded(seed):
        mixed, targets = Mixing(config, CLASSES, label_smoothing=0.0)(images, labels)
    assert (mixed.shape, targets.shape) == (images.shape, (len(images), CLASSES))
    for index in range(len(images)):
        partner = len(images) - 1 - index
        mean = float(mixed[index].double().mean())  # tells how much of each is in it
        share = 1.0 if index == partner else (mean - partner) / (index - partner)
        both = share * F.one_hot(labels[index], CLASSES) + (1 - share) * F.one_hot(labels[partner], CLASSES)
        torch.testing.assert_close(targets[index], both.float(), atol=1e-5, rtol=0)


def test_what_is_mixed_stays_as_it_was(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    before = images.clone(), labels.clone()
    for seed in range(5):
        with seeded(seed):
            mixed, _ = Mixing(PAPERS, CLASSES, 0.1)(images, labels)
        assert mixed.data_ptr() != images.data_ptr()
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


@pytest.mark.parametrize("config", [MixingConfig(), MixingConfig(mixup=0.8, prob=0.0)])
def test_without_mixing_the_loss_is_that_of_smoothed_labels(config: MixingConfig) -> None:
    images, labels, logits = torch.randn(3, 3, 8, 8), torch.tensor([0, 3, 1]), torch.randn(3, CLASSES)
    mixed, targets = Mixing(config, CLASSES, label_smoothing=0.1)(images, labels)
    assert not config.mixes
    assert torch.equal(mixed, images)
    torch.testing.assert_close(F.cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=0.1))


@pytest.mark.parametrize(("switch_prob", "cut"), [(0.0, False), (1.0, True)])
def test_switching_chooses_between_the_two(switch_prob: float, cut: bool) -> None:
    images = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)])
    config = MixingConfig(mixup=1.0, cutmix=1.0, switch_prob=switch_prob)
    with seeded(0):
        mixed, _ = Mixing(config, CLASSES, 0.0)(images, torch.tensor([0, 1]))
    assert (set(mixed.unique().tolist()) <= {0.0, 1.0}) is cut


@pytest.mark.parametrize("wrong", [{"mixup": -0.1}, {"cutmix": float("nan")}, {"switch_prob": 1.5}, {"prob": -1.0}])
def test_a_number_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"model\.mixing\.{next(iter(wrong))}"):
        MixingConfig(**wrong)
