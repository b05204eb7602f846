"""What of earlier weights a training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.models import create_model
from dat_cli.train.classification import Classification
from dat_cli.train.transfer import start_from
from dat_cli.weights import WeightsConfig, write_weights

SHAPE = Preprocessing(input_size=(3, 32, 32))
CONFIG = WeightsConfig("dat_tiny", ("cat", "dog", "owl"), SHAPE, model_args={"img_size": 32})
HEAD = ("head.weight", "head.bias")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A file of weights, and its tensors."""
    path = tmp_path_factory.mktemp("earlier") / "best.safetensors"
    tensors = create_model("dat_tiny", num_classes=3, img_size=32).state_dict()
    write_weights(path, tensors, CONFIG)
    return path, tensors


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (["cat", "dog", "owl"], True),
        (["dog", "cat", "owl"], False),  # each output would mean another class
        (["cat", "dog", "fox"], False),
        (["cat", "dog"], False),
    ],
)
def test_the_head_is_kept_for_the_same_classes_in_the_same_order_only(
    earlier: tuple[Path, dict[str, Tensor]], classes: list[str], kept: bool
) -> None:
    path, before = earlier
    module = Classification(classes, SHAPE)
    fresh = {name: tensor.clone() for name, tensor in module.network.state_dict().items()}
    said = start_from(module, path, CONFIG, name="earlier")
    assert ("head included" if kept else "reset the head (2 tensors)") in said
    for name, tensor in module.network.state_dict().items():
        assert torch.equal(tensor, before[name] if kept or name not in HEAD else fresh[name]), name
