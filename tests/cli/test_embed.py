"""``dat embed`` as people type it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.main import main
from dat_cli.data.image import load_image
from dat_cli.data.transforms import eval_transform
from dat_cli.models import create_model
from dat_cli.run.load import load_model
from dat_cli.weights import WeightsConfig, write_weights

CPU = ["--trainer.accelerator", "cpu", "--num_workers", "0"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    config = WeightsConfig("dat_tiny", ("a", "b", "c"), Preprocessing((3, 32, 32)), model_args={"img_size": 32})
    write_weights(path, network.state_dict(), config)
    return str(path)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seven photos, of which the third is damaged, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for index in range(7):
        pixels = np.random.default_rng(index).integers(0, 255, (30 + index, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{index}.png")
    Path("photos/2.png").write_bytes(b"no image")
    return [f"photos/{index}.png" for index in (0, 1, 3, 4, 5, 6)]


def test_vectors_are_the_pooled_features_of_the_images_that_can_be_read(
    photos: list[str], weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", "photos", "--weights", weights, "--output", "v.npy", "--batch_size", "3", *CPU]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "photos/2.png" in output.err.splitlines()[1]
    assert output.err.splitlines()[-1] == "dat: error: 1 of 7 images could not be read"
    network, config = load_model(weights)
    transform = eval_transform(config.preprocessing)
    with torch.no_grad():
        images = torch.stack([transform(load_image(path)) for path in photos])
        expected = network.forward_features(images).mean((2, 3))
    np.testing.assert_allclose(np.load("v.npy"), expected.numpy(), atol=1e-4)
    assert [row["path"] for row in csv.DictReader(Path("v.csv").read_text(encoding="utf-8").splitlines())] == photos


@pytest.mark.usefixtures("photos")
def test_normalized_vectors_are_as_long_as_one_and_parquet_says_so(weights: str) -> None:
    embed = ["embed", "--weights", weights, "photos/[013].png", *CPU]
    assert main([*embed, "--output", "v.npy"]) == 0
    assert main([*embed, "--output", "u.parquet", "--normalize", "true"]) == 0
    table = pq.read_table("u.parquet")
    vectors = np.array(table.column("embedding").to_pylist())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    expected = np.load("v.npy")
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    said = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert said["normalized"] == "true"
    assert said["weights"] == weights
    assert said["architecture"] == "dat_tiny"
    assert len(said["sha256"]) == 64


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("photos --weights W", "no file to write vectors to; give --output NAME.npy"),
        ("photos --weights W --output v.txt", "ends in neither .npy nor .parquet"),
        ("--weights W --output v.npy", "no images given"),
        ("photos --weights gone --output v.npy", "there are no weights 'gone'"),
        ("photos --weights W --output v.npy --normalise true", "did you mean --normalize?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    weights: str, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", *options.replace("W", weights, 1).split()]) == 2
    output = capsys.readouterr()
    assert said in output.err.splitlines()[-1]
    assert output.out == ""
    assert [entry.name for entry in Path().iterdir()] == ["photos"]


def test_two_processes_write_the_vectors_of_one(photos: list[str], weights: str) -> None:
    command = ["embed", "photos", "--weights", weights, "--batch_size", "2", *CPU]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "dat_cli", *command, "--trainer.devices", "2", "--output", "both.npy"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "dat: error: 1 of 7 images could not be read"
    assert main([*command, "--output", "one.npy"]) == 1
    np.testing.assert_allclose(np.load("both.npy"), np.load("one.npy"), atol=1e-5)
    assert Path("both.csv").read_bytes() == Path("one.csv").read_bytes()
    assert Path("one.csv").read_text(encoding="utf-8").split() == ["path", *photos]
    assert sorted(entry.name for entry in Path().iterdir()) == ["both.csv", "both.npy", "one.csv", "one.npy", "photos"]
