from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torchvision.transforms import InterpolationMode, v2

from dat_cli.catalog import Preprocessing
from dat_cli.data.image import load_image
from dat_cli.data.normalize import Normalize
from dat_cli.data.randomness import seeded
from dat_cli.data.transforms import Transform, crops_transform, eval_transform, read, train_transform


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


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_are_normalised_as_torchvision_does_it_to_the_last_bit(mode: str) -> None:
    picture = Image.effect_noise((50, 40), 80).convert(mode)
    mean, std = [0.485, 0.456, 0.406][: len(mode)], [0.229, 0.224, 0.225][: len(mode)]
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]
    ours = Normalize(mean, std)(picture)
    assert torch.equal(ours, v2.Compose(steps)(picture))
    assert ours.is_contiguous()


@pytest.mark.parametrize("size", [(500, 375), (64, 48), (9, 200)])
def test_random_parts_are_those_of_torchvision_but_for_rounding(size: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 80).convert("RGB")
    preprocessing = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3).at((40, 24))
    ours = train_transform(preprocessing, crop_scale=(0.08, 1), flip=0.5)
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop((40, 24), interpolation=InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    for seed in range(10):
        with seeded(seed):
            expected = theirs(picture)
        with seeded(seed):
            torch.testing.assert_close(ours(picture), torch.Tensor(expected), rtol=0, atol=2.1 / 255)


@pytest.mark.parametrize(("suffix", "levels"), [("png", 0.0), ("jpg", 1.0)])
def test_a_file_is_read_for_training_as_its_whole_picture_would_be(
    tmp_path: Path, photo: Image.Image, suffix: str, levels: float
) -> None:
    path = tmp_path / f"a.{suffix}"
    photo.resize((400, 300), Image.Resampling.BICUBIC).save(path)
    preprocessing = Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3).at(32)
    transform = train_transform(preprocessing, crop_scale=(0.2, 1), flip=0.5, auto_augment="rand-m9-mstd0.5-inc1")
    for seed in range(10):
        with seeded(seed):
            whole = transform(load_image(path))
        with seeded(seed):
            assert (read(path, transform) - whole).abs().mean() <= levels / 255


def test_a_file_is_read_for_evaluation_to_the_last_bit(tmp_path: Path, photo: Image.Image) -> None:
    photo.resize((400, 300)).save(tmp_path / "a.jpg")
    transform = eval_transform(Preprocessing().at(32))
    assert torch.equal(read(tmp_path / "a.jpg", transform), transform(load_image(tmp_path / "a.jpg")))
