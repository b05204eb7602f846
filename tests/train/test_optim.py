"""Which parameters decay, and how the learning rate runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from dat_cli.errors import UsageError
from dat_cli.models import create_model
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
        _, scheduler = build_optimizer(network, config, steps=300, epochs=100)
        rates = [factor(step) for factor in scheduler.lr_lambdas[:1] for step in range(40)]
        assert rates.index(max(rates)) == warmup


def test_adamw_is_that_of_the_papers() -> None:
    optimizer, _ = build_optimizer(nn.Linear(2, 2), OptimizerConfig(), steps=10, epochs=1)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-8
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1.0}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -0.1}, {"beta2": 1.0}, {"min_lr": 1.0}],
)
def test_a_number_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"model\.optimizer\.{next(iter(wrong))}"):
        OptimizerConfig(**wrong)
