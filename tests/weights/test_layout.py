"""The layout of a Hub repository as a folder."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.errors import WeightsError
from dat_cli.models import DAT, create_model
from dat_cli.weights import WeightsConfig, load_tensors, read_config, read_tensors
from dat_cli.weights.layout import is_weights_file, weights_files, write_layout

import_module("dat_cli.models.timm")  # registers the names

CONFIG = WeightsConfig("dat_tiny", ("a", "b", "c"), Preprocessing((3, 32, 48)), {"img_size": 32, "window": 4})
TENSORS: dict[str, Tensor] = {f"layer{index}.weight": torch.full((100,), float(index)) for index in range(6)}


@pytest.fixture(scope="module")
def network() -> DAT:
    return create_model("dat_tiny", num_classes=3, img_size=32, window=4).eval()


def test_what_is_written_is_read_and_timm_computes_the_same(network: DAT, tmp_path: Path) -> None:
    write_layout(tmp_path, network.state_dict(), CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert read_config(tmp_path) == CONFIG
    build: Any = timm.create_model
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(build(f"local-dir:{tmp_path}", pretrained=True).eval()(images), network(images))
    again = create_model("dat_tiny", num_classes=3, img_size=32, window=4).eval()
    load_tensors(again, read_tensors(tmp_path), source="x")
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "abcdefgh":  # safetensors writes several entries of metadata in any order
        (tmp_path / name).mkdir()
        write_layout(tmp_path / name, TENSORS, CONFIG)
    for file in ("config.json", "model.safetensors"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abcdefgh"}) == 1


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_layout(tmp_path, TENSORS, CONFIG, max_shard_size=900)
    return tmp_path


def test_what_is_too_large_is_divided_and_read_whole(shards: Path) -> None:
    assert [file.name for file in weights_files(shards)] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert (shards / "model.safetensors.index.json").is_file()
    found = read_tensors(shards)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_a_missing_shard_is_named(shards: Path) -> None:
    (shards / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no file .*model-00002-of-00003\.safetensors"):
        read_tensors(shards)


def test_a_tensor_in_two_files_is_refused(shards: Path) -> None:
    first, second = weights_files(shards)[:2]
    second.write_bytes(first.read_bytes())
    with pytest.raises(WeightsError, match="another file holds too"):
        read_tensors(shards)


@pytest.mark.parametrize("name", ["../model-00001-of-00003.safetensors", "/etc/passwd", "model.bin", ""])
def test_an_index_that_leads_elsewhere_is_refused(shards: Path, name: str) -> None:
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00003.safetensors", "b": name}}))
    with pytest.raises(WeightsError, match="names files that cannot be"):
        read_tensors(shards)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": {}}', '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none_is_one_line(shards: Path, text: str) -> None:
    (shards / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json"):
        read_tensors(shards)


@pytest.mark.parametrize("text", ["", "<html>", "[" * 100_000, " " * 20_000_001])
def test_a_config_that_is_none_is_one_line(shards: Path, text: str) -> None:
    (shards / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(shards)


def test_only_names_of_the_layout_are_weights() -> None:
    assert is_weights_file("model.safetensors")
    assert is_weights_file("model-00001-of-00002.safetensors")
    for name in (
        "../model.safetensors",
        "a/model.safetensors",
        "model.bin",
        "model-1-of-2.safetensors",
        "x.safetensors",
    ):
        assert not is_weights_file(name)
    assert not is_weights_file("model-00001-of-00002.safetensors\n")
