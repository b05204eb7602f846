"""What weights say without being read."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dat_cli.catalog import Preprocessing
from dat_cli.errors import WeightsError
from dat_cli.weights import WeightsConfig, write_weights
from dat_cli.weights.header import sha256_of, tensor_shapes
from dat_cli.weights.layout import write_layout

CONFIG = WeightsConfig("dat_tiny", ("cat", "dog"), Preprocessing())
TENSORS = {"stem.weight": torch.ones(4, 3), "scale": torch.tensor(2.0), "half": torch.ones(5, dtype=torch.bfloat16)}
SHAPES = {"stem.weight": (4, 3), "scale": (), "half": (5,)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_weights(path, TENSORS, CONFIG)
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_layout(folder, TENSORS, CONFIG, max_shard_size=50)
    return folder


def test_shapes_of_a_file_and_of_a_folder(file: Path, shards: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    write_layout(whole, TENSORS, CONFIG)
    assert len(list(shards.glob("*.safetensors"))) > 1
    assert tensor_shapes(file) == tensor_shapes(whole) == tensor_shapes(shards) == SHAPES


def test_shapes_of_a_checkpoint_are_those_of_its_network(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"network.head.bias": torch.ones(3), "metric": torch.ones(1)}}, path)
    assert tensor_shapes(path) == {"head.bias": (3,)}


def test_torch_is_not_imported(file: Path) -> None:
    code = (
        "import sys; from dat_cli.weights.header import sha256_of, tensor_shapes;"
        "tensor_shapes(sys.argv[1]); sha256_of(sys.argv[1]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_sha256_of_a_file_is_that_of_its_bytes(file: Path) -> None:
    assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_sha256_of_a_folder_is_that_of_its_one_file(tmp_path: Path) -> None:
    write_layout(tmp_path, TENSORS, CONFIG)
    assert sha256_of(tmp_path) == sha256_of(tmp_path / "model.safetensors")


def test_the_sha256_of_shards_is_what_the_shell_says(shards: Path) -> None:
    lines = subprocess.run("sha256sum model-*.safetensors | sha256sum", shell=True, cwd=shards, capture_output=True)
    assert sha256_of(shards) == lines.stdout.decode().split()[0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is a web page"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\xff" * 40, "damaged"),
        (b"\x02\0\0\0\0\0\0\0[]", "damaged"),
    ],
)
def test_what_is_no_safetensors_is_said_in_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=problem):
        tensor_shapes(path)


def test_a_truncated_file_is_refused_by_its_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        tensor_shapes(file)


@pytest.mark.parametrize("function", [tensor_shapes, sha256_of])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, function: object) -> None:
    assert callable(function)
    with pytest.raises(WeightsError, match="there is no file"):
        function(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        function(tmp_path)


def test_a_tensor_that_two_shards_hold_is_refused(shards: Path) -> None:
    first, second = sorted(shards.glob("*.safetensors"))[:2]
    save_file({**TENSORS}, first)
    save_file({**TENSORS}, second)
    with pytest.raises(WeightsError, match="another file holds too"):
        tensor_shapes(shards)
