"""What of earlier weights a training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.errors import WeightsError
from dat_cli.models import create_model
from dat_cli.models.convert import resize_tables
from dat_cli.train.classification import Classification
from dat_cli.train.transfer import can_start, start_from
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


@pytest.mark.parametrize(("sizes", "tables"), [({"img_size": 64}, 4), ({"img_size": 64, "window": 5}, 12)])
def test_another_size_resizes_the_tables_as_convert_does(
    earlier: tuple[Path, dict[str, Tensor]], sizes: dict[str, int], tables: int
) -> None:
    path, before = earlier
    module = Classification(["cat", "dog", "owl"], SHAPE.at(64), **sizes)  # type: ignore[arg-type]  # only these two
    said = start_from(module, path, CONFIG, name="earlier")
    assert f"{tables} position-bias tables resized for 64 x 64 pixels and windows of {sizes.get('window', 7)}" in said
    expected = resize_tables(before, module.network)
    for name, tensor in module.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_table_of_a_wrong_size_is_no_reason_to_resize(
    earlier: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    _, before = earlier
    table = next(name for name in before if name.endswith("rpe_table"))
    path = tmp_path / "broken.safetensors"
    write_weights(path, {**before, table: before[table][:, :1, :1].contiguous()}, CONFIG)
    with pytest.raises(WeightsError, match=table):
        start_from(Classification(["cat", "dog", "owl"], SHAPE), path, CONFIG, name="broken")


@pytest.mark.parametrize(
    ("arch", "weights", "can"),
    [
        ("dat_base_384", "dat_base", True),
        ("dat_pp_base_384", "dat_pp_base", True),
        ("dat_tiny", "dat_tiny", True),
        ("dat_small", "dat_tiny", False),
        ("dat_pp_base_384", "dat_base", False),
        ("dat_pp_tiny", "dat_p_tiny", False),
    ],
)
def test_a_variant_starts_another_that_differs_in_sizes_only(arch: str, weights: str, can: bool) -> None:
    assert can_start(arch, weights) is can
