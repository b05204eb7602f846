"""The configs of ImageNet against the published recipe, number by number, as the real parser reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn

from dat_cli.catalog import VARIANTS
from dat_cli.cli.base import flat
from dat_cli.cli.configs import packaged_configs
from dat_cli.cli.fit import Fit
from dat_cli.data.transforms import eval_transform
from dat_cli.models.layers import DropPath
from dat_cli.train.classification import Classification
from dat_cli.train.optim import build_optimizer

EVERYWHERE: dict[str, Any] = {
    "model.label_smoothing": 0.1,
    "model.mixing.mixup": 0.8,
    "model.mixing.cutmix": 1.0,
    "model.mixing.switch_prob": 0.5,
    "model.mixing.prob": 1.0,
    "model.optimizer.lr_batch_size": 512,
    "model.optimizer.beta1": 0.9,
    "model.optimizer.beta2": 0.999,
    "model.optimizer.eps": 1e-8,
    "model.optimizer.layer_decay": 1.0,
    "model.freeze": None,
    "model.class_weights": None,
    "data.sampling": "uniform",
    "data.image_size": None,
    "data.preprocessing.mean": (0.485, 0.456, 0.406),
    "data.preprocessing.std": (0.229, 0.224, 0.225),
    "data.preprocessing.interpolation": "bicubic",
    "data.preprocessing.crop_mode": "squash",
    "data.crop_scale": (0.08, 1.0),
    "data.crop_ratio": (3 / 4, 4 / 3),
    "data.flip": 0.5,
    "data.auto_augment": "rand-m9-mstd0.5-inc1",
    "data.color_jitter": 0.4,
    "data.erasing": 0.25,
}
AT_224: dict[str, Any] = {
    "model.optimizer.lr": 5e-4,
    "model.optimizer.warmup_lr": 5e-7,
    "model.optimizer.min_lr": 5e-6,
    "model.optimizer.warmup_epochs": 20,
    "model.optimizer.weight_decay": 0.05,
    "data.preprocessing.input_size": (3, 224, 224),
    "data.preprocessing.crop_pct": 0.875,
    "data.batch_size": 128,
    "trainer.max_epochs": 300,
    "trainer.gradient_clip_val": 5.0,
}
AT_384: dict[str, Any] = {
    "model.optimizer.warmup_epochs": 0,
    "model.optimizer.weight_decay": 1e-8,
    "data.preprocessing.input_size": (3, 384, 384),
    "data.batch_size": 24,
    "trainer.max_epochs": 30,
    "trainer.gradient_clip_val": 5.0,
}
BASE = {"model.optimizer.lr": 4e-4, "model.optimizer.warmup_epochs": 50, "trainer.gradient_clip_val": 1.0}
OF: dict[str, dict[str, Any]] = {
    "dat_tiny": {**AT_224, "model.drop_path_rate": 0.2},
    "dat_small": {**AT_224, "model.drop_path_rate": 0.3},
    "dat_base": {**AT_224, **BASE, "model.drop_path_rate": 0.5},
    "dat_base_384": {
        **AT_384,
        "model.drop_path_rate": 0.5,
        "model.optimizer.lr": 2e-6,
        "model.optimizer.min_lr": 1e-7,
        "data.preprocessing.crop_pct": 0.875,
    },
    "dat_p_tiny": {**AT_224, "model.drop_path_rate": 0.2},
    "dat_pp_tiny": {**AT_224, "model.drop_path_rate": 0.2},
    "dat_pp_small": {**AT_224, "model.drop_path_rate": 0.4},
    "dat_pp_base": {**AT_224, "model.drop_path_rate": 0.7},
    "dat_pp_base_384": {
        **AT_384,
        "model.drop_path_rate": 0.6,
        "model.optimizer.lr": 2e-5,
        "model.optimizer.warmup_lr": 2e-8,
        "model.optimizer.min_lr": 2e-7,
        "data.preprocessing.crop_pct": 1.0,
    },
}
STEPS_PER_EPOCH = 1281167 // 1024


class Parsed(Fit):
    """``dat fit`` up to where it would build a trainer: the network without memory for its weights, and the data."""

    def instantiate_classes(self) -> None:
        with torch.device("meta"):
            built = self.parser.instantiate_classes(self.config)[self.command]
        self.module, self.images = built["model"], built["data"]

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the layout of ImageNet."""
    root = tmp_path_factory.mktemp("data") / "imagenet"
    for part in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            (root / part / name).mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (300, 200), "green").save(root / part / name / f"{index}.png")
    return root


@pytest.fixture(scope="module", params=list(VARIANTS))
def recipe(request: pytest.FixtureRequest, imagenet: Path) -> Iterator[tuple[str, Parsed]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(imagenet.parent)  # the configs say ``imagenet``
        yield request.param, Parsed(["fit", "--config", f"imagenet/{request.param}"])


@pytest.fixture(scope="module")
def tiny(imagenet: Path) -> Parsed:
    return Parsed(["fit", "--config", "imagenet/dat_tiny", "--data.source", str(imagenet)])


def test_every_variant_has_a_recipe() -> None:
    assert {path.stem for path in (packaged_configs() / "imagenet").iterdir()} == set(VARIANTS) == set(OF)


def test_every_number_is_that_of_the_paper(recipe: tuple[str, Parsed]) -> None:
    name, parsed = recipe
    said = {
        key: tuple(value) if isinstance(value, list) else value for key, value in flat(parsed.plain_options()).items()
    }
    expected = {"model.arch": name, **EVERYWHERE, **OF[name]}
    assert {key: said[key] for key in expected} == expected
    assert parsed.module.network.variant is VARIANTS[name]


def test_the_network_has_its_stochastic_depth_and_size(recipe: tuple[str, Parsed]) -> None:
    name, parsed = recipe
    rates = [module.rate for module in parsed.module.network.modules() if isinstance(module, DropPath)]
    assert max(rates) == pytest.approx(OF[name]["model.drop_path_rate"])
    side = 384 if name.endswith("384") else 224
    assert parsed.module.network.image_size == (side, side)
    assert parsed.module.network.variant.window == VARIANTS[name].window


def test_pictures_are_prepared_as_timm_does_it_for_the_authors(recipe: tuple[str, Parsed]) -> None:
    _, parsed = recipe
    size = parsed.images.preprocessing.input_size[1]
    theirs = create_transform(
        input_size=size,
        is_training=True,
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        re_prob=0.25,
        re_mode="pixel",
        re_count=1,
        interpolation="bicubic",
    )
    crop, flip, augment, _, normalize, erase = theirs.transforms
    ours = _by_type(parsed.images.train_dataloader().dataset.transform)
    assert tuple(ours["RandomResizedCrop"].size) == crop.size
    assert (ours["RandomResizedCrop"].scale, ours["RandomResizedCrop"].ratio) == (crop.scale, crop.ratio)
    assert ours["RandomResizedCrop"].interpolation == crop.interpolation
    assert ours["RandomHorizontalFlip"].p == flip.p
    assert repr(ours["RandAugment"]) == repr(augment)
    for operation, expected in zip(ours["RandAugment"].ops, augment.ops, strict=True):
        assert (operation.hparams, operation.kwargs) == (expected.hparams, expected.kwargs)
    assert ours["Normalize"].mean == pytest.approx(normalize.mean.tolist())
    assert ours["Normalize"].std == pytest.approx(normalize.std.tolist())
    assert vars(ours["RandomErasing"]) == vars(erase)
    assert "ColorJitter" not in ours  # timm leaves it out beside RandAugment


def test_evaluation_is_that_of_the_published_weights(recipe: tuple[str, Parsed]) -> None:
    name, parsed = recipe
    assert parsed.images.preprocessing == VARIANTS[name].preprocessing
    resize = _by_type(eval_transform(parsed.images.preprocessing))["Resize"]
    expected = {"dat_base_384": 438, "dat_pp_base_384": 384}.get(name, 256)
    assert tuple(resize.size) == (expected, expected)


def test_the_rate_is_that_of_timms_schedule_at_every_step(recipe: tuple[str, Parsed]) -> None:
    name, parsed = recipe
    numbers = OF[name]
    epochs, batch = numbers["trainer.max_epochs"], 8 * numbers["data.batch_size"]
    per_epoch = 1281167 // batch
    steps, warmup = epochs * per_epoch, numbers["model.optimizer.warmup_epochs"] * per_epoch
    _, schedule = _built(parsed.module, steps=steps, epochs=epochs, batch=batch)
    scale = batch / 512  # the authors' own: lr, the start of the warm-up and the floor alike
    lr, floor = numbers["model.optimizer.lr"] * scale, numbers["model.optimizer.min_lr"] * scale
    theirs = CosineLRScheduler(
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr),
        t_initial=steps,
        lr_min=floor,
        warmup_lr_init=numbers.get("model.optimizer.warmup_lr", 0.0) * scale,
        warmup_t=warmup,
        cycle_limit=1,
        t_in_epochs=False,
    )
    chosen = {0, 1, warmup // 2, warmup - 1, warmup, warmup + 1, steps // 2, steps - 1, steps, *range(0, steps, 997)}
    for step in sorted(step for step in chosen if step >= 0):
        assert schedule.base_lrs[0] * schedule.lr_lambdas[0](step) == pytest.approx(theirs._get_lr(step)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 1e-6),
        (10 * STEPS_PER_EPOCH, (1e-6 + 1e-3) / 2),
        (20 * STEPS_PER_EPOCH, 9.8918e-4),  # 1e-5 + 9.9e-4 / 2 * (1 + cos(pi * 20 / 300))
        (150 * STEPS_PER_EPOCH, (1e-5 + 1e-3) / 2),
        (300 * STEPS_PER_EPOCH, 1e-5),
    ],
)
def test_tiny_on_eight_gpus_learns_at_the_rates_of_the_paper(step: int, rate: float, tiny: Parsed) -> None:
    _, schedule = _built(tiny.module, steps=300 * STEPS_PER_EPOCH, epochs=300, batch=1024)
    for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True):
        assert base * factor(step) == pytest.approx(rate, rel=1e-4)


def test_what_decays_is_what_decayed_in_the_authors_runs(recipe: tuple[str, Parsed]) -> None:
    name, parsed = recipe
    optimizer, _ = _built(parsed.module, steps=10, epochs=1, batch=1024)
    names = {id(parameter): name for name, parameter in parsed.module.network.named_parameters()}
    groups = {group["weight_decay"]: {names[id(each)] for each in group["params"]} for group in optimizer.param_groups}
    tables = ("rpe_table", "relative_position_bias_table")  # not ``rpb``
    spared = {
        name
        for name, parameter in parsed.module.network.named_parameters()
        if parameter.ndim <= 1 or name.endswith((".bias", *tables))
    }
    assert groups == {OF[name]["model.optimizer.weight_decay"]: set(names.values()) - spared, 0.0: spared}


def _built(module: Classification, *, steps: int, epochs: int, batch: int) -> tuple[Any, Any]:
    return build_optimizer(module.network, module.optimizer_config, steps=steps, epochs=epochs, total_batch=batch)


def _by_type(transform: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in transform.transforms:
        found |= _by_type(each) if hasattr(each, "transforms") else {type(each).__name__: each}
    return found
