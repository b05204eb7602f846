"""What of a network stays as it is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from dat_cli.errors import UsageError
from dat_cli.models import create_model
from dat_cli.models.dat import DAT
from dat_cli.train.freeze import Frozen, freeze


@pytest.fixture
def network() -> DAT:
    return create_model("dat_tiny", num_classes=3, img_size=32, drop_path_rate=0.9)


@pytest.mark.parametrize(
    ("what", "learning"),
    [
        (None, {"stem", "stages.0", "stages.1", "stages.2", "stages.3", "norm", "head"}),
        (0, {"stages.0", "stages.1", "stages.2", "stages.3", "norm", "head"}),
        (2, {"stages.2", "stages.3", "norm", "head"}),
        (4, {"norm", "head"}),
        ("backbone", {"head"}),
    ],
)
def test_what_is_not_frozen_learns(network: DAT, what: Frozen, learning: set[str]) -> None:
    freeze(network, what)
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {".".join(name.split(".")[: 1 + name.startswith("stages")]) for name in names} == learning


def test_a_frozen_part_has_no_stochastic_depth_while_the_rest_has(network: DAT) -> None:
    freeze(network, 2)
    network.train()  # as Lightning calls it
    assert not any(module.training for stage in network.stages[:2] for module in stage.modules())
    assert all(module.training for stage in network.stages[2:] for module in stage.modules())
    images = torch.randn(8, 3, 32, 32)
    maps: list[Any] = [network.forward_intermediates(images, intermediates_only=True) for _ in range(2)]
    assert torch.equal(maps[0][1], maps[1][1])
    assert not torch.equal(maps[0][3], maps[1][3])


def test_a_step_changes_nothing_that_is_frozen(network: DAT) -> None:
    freeze(network, "backbone")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=0.1)
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_a_copy_is_frozen_by_itself(network: DAT) -> None:
    freeze(network, "backbone")
    copy = deepcopy(network)  # as an average of the weights is made
    copy.stem.training = True
    copy.train()
    network.train()
    assert copy.stem.training
    assert not network.stem.training
    assert copy.head.training


@pytest.mark.parametrize("what", [-1, 5, "head", True])
def test_a_part_that_is_not_there_is_an_error_in_words(network: nn.Module, what: Any) -> None:
    with pytest.raises(UsageError, match=r"model\.freeze is .*it must be backbone, or how many stages"):
        freeze(network, what)
