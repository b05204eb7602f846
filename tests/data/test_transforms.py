from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from dat_cli.catalog import Preprocessing
from dat_cli.data.transforms import Transform, crops_transform, eval_transform, train_transform


@pytest.mark.parametrize("crop_mode", ["squash", "center"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("input_size", [(3, 32, 32), (3, 40, 24)])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
@pytest.mark.parametrize("size", [(64, 48), (37, 91), (20, 20), (255, 33)])
def test_evaluation_is_what_timm_does_with_the_same_values(
    photo: Image.Image,
    crop_mode: str,
    interpolation: str,
    input_size: tuple[int, int, int],
    crop_pct: float,
    size: tuple[int, int],
) -> None:
    values = {
        "input_size": input_size,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "interpolation": interpolation,
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    picture = photo.resize(size)
    theirs = create_transform(**values)  # type: ignore[arg-type] # one dict for both
    ours = eval_transform(Preprocessing(**values))  # type: ignore[arg-type]
    torch.testing.assert_close(ours(picture), theirs(picture))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 2)])
def test_strips_and_dots_are_given_their_middle(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "white")
    shape = (3, 224, 224)
    preprocessing = Preprocessing(crop_mode="center", crop_pct=0.9)
    assert eval_transform(preprocessing)(picture).shape == shape
    assert train_transform(preprocessing, crop_scale=(0.3, 1), flip=0.5)(picture).shape == shape


def test_training_sees_random_parts_that_a_seed_repeats(photo: Image.Image) -> None:
    transform = train_transform(Preprocessing().at((40, 24)), crop_scale=(0.3, 1), flip=0.5)
    torch.manual_seed(0)
    first, second = transform(photo), transform(photo)
    torch.manual_seed(0)
    assert torch.equal(first, transform(photo))
    assert not torch.equal(first, second)
    assert (first.shape, first.dtype, type(first)) == ((3, 40, 24), torch.float32, torch.Tensor)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip_is_the_probability_of_a_mirrored_picture(photo: Image.Image, flip: float) -> None:
    transform = train_transform(Preprocessing().at(32), crop_scale=(1, 1), crop_ratio=(1, 1), flip=flip)
    green = transform(photo)[1]  # grows to the right in the photo
    assert bool(green[:, 0].mean() > green[:, -1].mean()) == bool(flip)


def test_one_channel_is_grey(photo: Image.Image) -> None:
    preprocessing = Preprocessing(input_size=(1, 32, 32), mean=(0.5,), std=(0.5,))
    assert eval_transform(preprocessing)(photo).shape == (1, 32, 32)


@pytest.mark.parametrize("make", [eval_transform, crops_transform])
def test_transforms_reach_workers_that_are_not_forked(
    photo: Image.Image, make: Callable[[Preprocessing], Transform]
) -> None:
    transform = make(Preprocessing(crop_mode="center"))
    assert torch.equal(pickle.loads(pickle.dumps(transform))(photo), transform(photo))


@pytest.mark.parametrize(
    ("crop_mode", "scaled"),
    [("squash", (64, 64)), ("center", (96, 64))],  # width and height, of a picture of 3 : 2
)
def test_crops_are_the_corners_and_the_centre_of_what_evaluation_resizes(
    photo: Image.Image, crop_mode: Literal["squash", "center"], scaled: tuple[int, int]
) -> None:
    picture = photo.resize((300, 200))
    preprocessing = Preprocessing((3, 48, 48), crop_mode=crop_mode, crop_pct=0.75)
    crops = crops_transform(preprocessing)(picture)
    width, height = scaled
    whole = eval_transform(replace(preprocessing, input_size=(3, height, width), crop_pct=1.0))(picture)
    for crop, (x, y) in zip(
        crops[:4], [(0, 0), (width - 48, 0), (0, height - 48), (width - 48, height - 48)], strict=True
    ):
        torch.testing.assert_close(crop, whole[:, y : y + 48, x : x + 48])
    torch.testing.assert_close(crops[4], eval_transform(preprocessing)(picture))


def test_where_evaluation_sees_everything_crops_are_of_a_larger_picture(photo: Image.Image) -> None:
    crops = crops_transform(Preprocessing((3, 224, 224), crop_pct=1.0))(photo)
    larger = eval_transform(Preprocessing((3, 256, 256), crop_pct=1.0))(photo)
    torch.testing.assert_close(crops[0], larger[:, :224, :224])
    torch.testing.assert_close(crops[4], larger[:, 16:240, 16:240])
