"""Finding weights and building their network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import dat_cli
from dat_cli.catalog import Preprocessing
from dat_cli.errors import HubError, WeightsError
from dat_cli.run.load import load_model
from dat_cli.run.resolve import find_weights
from dat_cli.weights import WeightsConfig, read_config, read_tensors, write_weights
from dat_cli.weights.layout import write_layout


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


@pytest.fixture
def layout(run_folder: Path, tmp_path: Path) -> Path:
    """The same weights, rounded to half the bytes, as a folder in the layout of a Hub repository."""
    folder = tmp_path / "layout"
    folder.mkdir()
    file = run_folder / "best.safetensors"
    write_layout(folder, {name: tensor.half() for name, tensor in read_tensors(file).items()}, read_config(file))
    return folder


@pytest.fixture
def on_hub(hub: Any, layout: Path) -> str:
    """Name of a repository with these weights; its newest commit."""
    for file in layout.iterdir():
        commit = hub.plant("tester/seven", file.name, file.read_bytes(), lfs=file.suffix == ".safetensors")
    return str(commit)


def test_a_folder_in_hub_layout_is_found(layout: Path, run_folder: Path) -> None:
    found = find_weights(str(layout))
    assert (found.path, found.config) == (layout, find_weights(str(run_folder)).config)
    assert load_model(layout)[1] == found.config


@pytest.mark.parametrize("name", ["tester/seven", "hf-hub:tester/seven", "tester/seven@main"])
def test_a_name_on_the_hub_is_found_and_pinned(name: str, on_hub: str, run_folder: Path) -> None:
    found = find_weights(name)
    assert found.name == found.lasting_name == f"tester/seven@{on_hub}"
    assert found.config == find_weights(str(run_folder)).config


@pytest.mark.usefixtures("on_hub")
def test_a_pinned_name_needs_no_network_once_it_is_here(hub: Any) -> None:
    name = find_weights("tester/seven").name
    hub.use(HF_ENDPOINT="http://127.0.0.1:9")
    assert find_weights(name).name == name


def test_what_exists_here_comes_before_the_hub(
    on_hub: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tester").mkdir()
    Path("tester/seven").symlink_to(run_folder)
    assert find_weights("tester/seven").place == "here"
    assert find_weights("hf-hub:tester/seven").name == f"tester/seven@{on_hub}"


def test_one_line_says_what_was_used_and_its_hash(on_hub: str, layout: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dat")
    find_weights("tester/seven")
    sha256 = hashlib.sha256((layout / "model.safetensors").read_bytes()).hexdigest()
    assert f"weights tester/seven@{on_hub} from the Hub: dat_tiny, sha256 {sha256}" in caplog.messages


def test_a_name_that_is_neither_here_nor_on_the_hub_is_an_error_of_the_hub(hub: Any) -> None:
    with pytest.raises(HubError, match=r"no repository tester/nothing.*; nor is there a 'tester/nothing' here"):
        find_weights("tester/nothing")
    assert hub.log()


def test_a_missing_file_is_not_looked_for_on_the_hub(hub: Any) -> None:
    for name in ("tester/best.safetensors", "./tester/seven", "tester/seven.pth"):
        with pytest.raises(WeightsError, match="there are no weights"):
            find_weights(name)
    assert hub.log() == []


def test_the_authors_file_is_to_be_converted_first(tmp_path: Path) -> None:
    (tmp_path / "dat.pth").touch()
    with pytest.raises(WeightsError, match=r"dat convert \S+dat\.pth dat\.safetensors"):
        find_weights(str(tmp_path / "dat.pth"))


def test_a_slip_in_the_name_of_a_variant_is_seen() -> None:
    with pytest.raises(WeightsError, match="did you mean 'dat_tiny'"):
        find_weights("dat_tny")
