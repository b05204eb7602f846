"""Augmentations are timm's, with what it lets slip caught."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from dat_cli.catalog import Preprocessing
from dat_cli.data.augment import check_auto_augment, distortions, erasures
from dat_cli.data.randomness import seeded
from dat_cli.data.transforms import Transform, train_transform
from dat_cli.errors import UsageError

PAPERS: dict[str, Any] = {"auto_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4, "erasing": 0.25}
RGB = Preprocessing().at(32)
GREY = Preprocessing(input_size=(1, 32, 32), mean=(0.5,), std=(0.25,))


def _transform(preprocessing: Preprocessing, **augmentation: Any) -> Transform:
    return train_transform(preprocessing, crop_scale=(0.08, 1), flip=0.5, **augmentation)


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "augmix-m5-w2-d2", "original-mstd0.5", "v0", "3a", None])
def test_pictures_are_distorted_as_timm_does_it(photo: Image.Image, policy: str | None) -> None:
    _, theirs, _ = create_transform(32, is_training=True, separate=True, auto_augment=policy, interpolation="bicubic")
    (ours,) = distortions(RGB, auto_augment=policy, color_jitter=0.4)
    distinct = set()
    for seed in range(8):
        with seeded(seed):
            expected = theirs(photo)
        with seeded(seed):
            distorted = ours(photo)
        assert distorted.tobytes() == expected.tobytes()
        distinct.add(distorted.tobytes())
    assert len(distinct) > 1


@pytest.mark.parametrize("policy", ["rand-m10-inc1-p1-n15", "rand-m30-mmax30-inc1-p1-n15", "rand-m0-p1-n15", "v0"])
def test_no_policy_asks_pillow_for_fewer_bits_than_it_keeps(photo: Image.Image, policy: str) -> None:
    (distort,) = distortions(RGB, auto_augment=policy, color_jitter=0)
    for seed in range(20):
        with seeded(seed):
            assert distort(photo).size == photo.size


@pytest.mark.parametrize(
    ("augmentation", "is_changed"),
    [({"color_jitter": 0.4}, True), ({"auto_augment": "rand-n0", "color_jitter": 0.4}, False), ({}, False)],
)
def test_colours_are_jittered_unless_a_policy_changes_them(augmentation: dict[str, Any], is_changed: bool) -> None:
    transform = train_transform(RGB, crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, **augmentation)
    picture = Image.new("RGB", (32, 32), (200, 100, 50))
    plain = train_transform(RGB, crop_scale=(1, 1), crop_ratio=(1, 1), flip=0)(picture)
    assert torch.equal(transform(picture), plain) is not is_changed


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_erasing_makes_one_rectangle_noise_as_often_as_asked(probability: float) -> None:
    random.seed(0)
    torch.manual_seed(0)
    holes = 0
    for _ in range(200):
        picture = torch.zeros(3, 32, 32)
        for erase in erasures(probability):
            erase(picture)
        rows, columns = picture.abs().sum(0).nonzero(as_tuple=True)
        if len(rows):
            holes += 1
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert len(picture[picture != 0].unique()) > len(rows)  # each pixel and channel for itself
    assert holes / 200 == pytest.approx(probability, abs=0.08)


@pytest.mark.parametrize("preprocessing", [RGB, GREY])
@pytest.mark.parametrize("size", [(1, 1), (50, 40), (1, 3000)])
def test_the_papers_augmentation_takes_pictures_of_any_size_and_grey_ones(
    preprocessing: Preprocessing, size: tuple[int, int]
) -> None:
    transform = pickle.loads(pickle.dumps(_transform(preprocessing, **PAPERS)))  # as it reaches a worker
    picture = Image.new("RGB", size, "red")
    for seed in range(30):
        with seeded(seed):
            pixels = transform(picture)
        assert (pixels.shape, pixels.dtype) == (preprocessing.input_size, torch.float32)
        assert torch.isfinite(pixels).all()


def test_a_seed_repeats_the_whole_augmentation(photo: Image.Image) -> None:
    transform = _transform(RGB, **PAPERS)
    results = []
    for seed in (1, 2, 1):
        with seeded(seed):
            results.append(transform(photo))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize(
    "policy",
    ["", "rand-m9-foo", "rand-mstdinf", "rand_m9", "rand-p2", "augmix-w0", "v1", "3a-m5", "rand-"],
)
def test_a_policy_that_timm_would_pass_over_or_fail_at_is_an_error(policy: str) -> None:
    with pytest.raises(UsageError, match=r"data\.auto_augment is .*rand-m9-mstd0\.5-inc1"):
        check_auto_augment(policy)
