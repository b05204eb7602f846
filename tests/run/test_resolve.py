"""Finding weights and building their network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dat_cli
from dat_cli.catalog import Preprocessing
from dat_cli.errors import WeightsError
from dat_cli.run.resolve import find_weights, load_model
from dat_cli.weights import WeightsConfig, read_config, read_tensors, write_weights


def test_a_run_folder_and_its_file_mean_the_same(run_folder: Path) -> None:
    file = run_folder / "best.safetensors"
    assert find_weights(str(run_folder)) == find_weights(str(file))
    assert find_weights(str(file)).path == file


def test_the_newest_version_with_weights_is_taken(run_folder: Path, tmp_path: Path) -> None:
    for version in (2, 9, 10):
        (tmp_path / f"version_{version}").mkdir()
    for version in (2, 9):
        (tmp_path / f"version_{version}" / "best.safetensors").symlink_to(run_folder / "best.safetensors")
    assert find_weights(str(tmp_path)).path.parent.name == "version_9"


def test_the_network_has_the_files_tensors_and_is_ready_to_use(run_folder: Path) -> None:
    network, config = dat_cli.load_model(str(run_folder))
    assert not network.training
    assert config.classes[3] == "class 3"
    for name, tensor in load_file(run_folder / "best.safetensors").items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_a_checkpoint_gives_the_same_network(run_folder: Path, tmp_path: Path) -> None:
    file = run_folder / "best.safetensors"
    path = tmp_path / "last.ckpt"
    state = {f"network.{name}": tensor for name, tensor in read_tensors(file).items()}
    torch.save({"state_dict": state, "dat": read_config(file).to_dict()}, path)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = load_model(run_folder)[0](images)
        assert torch.equal(load_model(path)[0](images), expected)


def test_other_classes_than_the_tensors_have_are_refused_by_name(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_weights(
        path,
        read_tensors(run_folder / "best.safetensors"),
        WeightsConfig("dat_tiny", ("one", "two"), Preprocessing(), model_args={"img_size": 32}),
    )
    with pytest.raises(WeightsError, match=r"of another shape .*\(7, 768\) for \(2, 768\)"):
        load_model(str(path))


def test_what_cannot_be_weights_says_what_can(tmp_path: Path) -> None:
    text = tmp_path / "weights.txt"
    text.write_text("hello")
    for reference in ("", str(tmp_path / "nothing"), str(text), str(tmp_path)):
        with pytest.raises(WeightsError, match=r"give the folder of a run, a \.safetensors or a \.ckpt file"):
            find_weights(reference)


def test_an_unfinished_run_points_to_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0" / "last.ckpt").touch()
    with pytest.raises(WeightsError, match=r"has no best\.safetensors yet; give .*last\.ckpt"):
        find_weights(str(tmp_path))
