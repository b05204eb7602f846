"""Which parameters decay, and how the learning rate runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn

from dat_cli.errors import UsageError
from dat_cli.models import create_model
from dat_cli.models.dat import DAT
from dat_cli.train.freeze import freeze
from dat_cli.train.optim import OptimizerConfig, build_optimizer, parameter_groups, warmup_cosine


def _names(network: nn.Module, group: dict[str, Any]) -> set[str]:
    chosen = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in chosen}


def test_every_parameter_is_in_one_group() -> None:
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    decay, keep = (_names(network, group) for group in parameter_groups(network, 0.05))
    assert not decay & keep
    assert decay | keep == {name for name, _ in network.named_parameters()}


def test_biases_norms_and_bias_tables_do_not_decay() -> None:
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    decay, keep = (_names(network, group) for group in parameter_groups(network, 0.05))
    spared = set(network.no_weight_decay())
    assert spared
    assert spared <= keep
    assert not [name for name in decay if name.endswith(".bias")]
    assert all(parameter.ndim > 1 for name, parameter in network.named_parameters() if name in decay)
    assert "head.weight" in decay


def test_tables_of_neighbourhood_attention_decay_as_in_the_published_recipe() -> None:
    network = create_model("dat_pp_tiny", num_classes=3, img_size=32)
    decay, _ = (_names(network, group) for group in parameter_groups(network, 0.05))
    published = [name for name, parameter in network.named_parameters() if parameter.ndim == 3]
    tables = [name for name in published if name not in network.no_weight_decay()]
    assert tables
    assert set(tables) <= decay


@pytest.fixture(scope="module")
def network() -> DAT:
    return create_model("dat_tiny", num_classes=3, img_size=32)


@pytest.fixture
def schedule() -> Callable[[int], float]:
    return warmup_cosine(300, warmup=20, start=1e-3, floor=0.01)


def test_warm_up_is_linear_from_a_thousandth(schedule: Callable[[int], float]) -> None:
    assert schedule(0) == pytest.approx(1e-3)
    assert schedule(10) == pytest.approx((1e-3 + 1) / 2)


def test_cosine_falls_from_the_top_to_the_floor(schedule: Callable[[int], float]) -> None:
    falling = [schedule(step) for step in range(20, 301)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > 0.98
    assert schedule(300) == schedule(400) == pytest.approx(0.01)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_learning_rate(steps: int) -> None:
    factor = warmup_cosine(steps, warmup=0, start=1e-3, floor=0.01)
    assert factor(0) == pytest.approx(1)


def test_warm_up_takes_the_share_of_the_papers_unless_given() -> None:
    network = nn.Linear(2, 2)
    for config, warmup in ((OptimizerConfig(), 20), (OptimizerConfig(warmup_epochs=2), 6)):
        _, scheduler = build_optimizer(network, config, steps=300, epochs=100, total_batch=8)
        rates = [factor(step) for factor in scheduler.lr_lambdas[:1] for step in range(40)]
        assert rates.index(max(rates)) == warmup


@pytest.mark.parametrize("warmup", [0, 1, 7, 40])
@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_every_step_has_the_rate_of_timms_schedule(network: DAT, warmup: int, layer_decay: float) -> None:
    steps, lr = 40, 3e-4
    config = OptimizerConfig(lr=lr, warmup_epochs=warmup, warmup_lr=1e-5, min_lr=2e-5, layer_decay=layer_decay)
    optimizer, scheduler = build_optimizer(network, config, steps=steps, epochs=steps, total_batch=8)
    groups = parameter_groups(network, 0.05, layer_decay=layer_decay)
    theirs = CosineLRScheduler(
        torch.optim.SGD([{**group, "lr": lr} for group in groups]),
        t_initial=steps,
        lr_min=2e-5,
        warmup_lr_init=1e-5,
        warmup_t=warmup,
        cycle_limit=1,
        t_in_epochs=False,
    )
    for step in range(steps + 2):
        theirs.step_update(step)
        expected = [group["lr"] for group in theirs.optimizer.param_groups]
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("total_batch", "factor"), [(512, 1.0), (1024, 2.0), (24, 24 / 512)])
def test_all_rates_grow_with_the_true_batch(total_batch: int, factor: float) -> None:
    config = OptimizerConfig(lr=5e-4, warmup_lr=5e-7, min_lr=5e-6, warmup_epochs=20, lr_batch_size=512)
    _, scheduler = build_optimizer(nn.Linear(2, 2), config, steps=300, epochs=300, total_batch=total_batch)
    rates = [scheduler.base_lrs[0] * scheduler.lr_lambdas[0](step) for step in (0, 150, 300)]
    assert rates == pytest.approx([5e-7 * factor, 2.525e-4 * factor, 5e-6 * factor])


def test_rates_are_as_given_without_a_batch_size_that_they_are_for() -> None:
    _, scheduler = build_optimizer(nn.Linear(2, 2), OptimizerConfig(lr=1e-3), steps=9, epochs=3, total_batch=4096)
    assert scheduler.base_lrs == [1e-3, 1e-3]


def test_layer_decay_slows_down_each_block_more_than_the_next(network: DAT) -> None:
    config = OptimizerConfig(lr=1e-3, layer_decay=0.5)
    optimizer, scheduler = build_optimizer(network, config, steps=10, epochs=1, total_batch=8)
    rates = {
        name: rate
        for group, rate in zip(optimizer.param_groups, scheduler.base_lrs, strict=True)
        for name in _names(network, group)
    }
    order = ["head.weight", "norm.weight", "stages.3.blocks.1.mlp.up.weight", "stages.3.blocks.0.mlp.up.weight"]
    assert [rates[name] for name in order] == [1e-3, 5e-4, 5e-4, 2.5e-4]
    assert rates["stem.conv.weight"] == min(rates.values())
    assert rates.keys() == {name for name, _ in network.named_parameters()}
    assert scheduler.base_lrs[0] == 1e-3  # the first group is the one whose rate is shown


def test_layer_decay_leaves_it_as_it_was_what_decays(network: DAT) -> None:
    def decaying(layer_decay: float) -> set[str]:
        groups = parameter_groups(network, 0.05, layer_decay=layer_decay)
        return {name for group in groups if group["weight_decay"] for name in _names(network, group)}

    assert decaying(0.75) == decaying(1.0)


@pytest.mark.parametrize("layer_decay", [1.0, 0.75])
def test_what_is_frozen_is_in_no_group(layer_decay: float) -> None:
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    freeze(network, "backbone")
    groups = parameter_groups(network, 0.05, layer_decay=layer_decay)
    assert set().union(*(_names(network, group) for group in groups)) == {"head.weight", "head.bias"}


def test_adamw_is_that_of_the_papers() -> None:
    optimizer, _ = build_optimizer(nn.Linear(2, 2), OptimizerConfig(), steps=10, epochs=1, total_batch=8)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-8
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -1.0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr_batch_size": 0},
        {"weight_decay": -0.1},
        {"beta2": 1.0},
        {"warmup_lr": 1.0},
        {"min_lr": 1.0},
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
    ],
)
def test_a_number_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"model\.optimizer\.{next(iter(wrong))}"):
        OptimizerConfig(**wrong)
