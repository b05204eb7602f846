"""``dat predict`` with a temperature, flips, crops, and copies with the label drawn on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.main import main
from dat_cli.data.image import load_image
from dat_cli.data.transforms import crops_transform
from dat_cli.models import create_model
from dat_cli.run.load import load_model
from dat_cli.weights import WeightsConfig, write_weights

TEMPERATURE = 0.25


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    network = create_model("dat_tiny", num_classes=3, img_size=32)
    config = WeightsConfig(
        "dat_tiny",
        ("cat", "dog", "cow"),
        Preprocessing((3, 32, 32), crop_mode="center"),
        {"img_size": 32},
        temperature=TEMPERATURE,
    )
    write_weights(path, network.state_dict(), config)
    return str(path)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two photos, then their mirror images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{index}.png")
        Image.fromarray(pixels[:, ::-1]).save(f"photos/{index + 2}.png")
    return [f"photos/{index}.png" for index in range(4)]


def rows(records: list[dict[str, Any]]) -> list[list[float]]:
    """Probabilities by class."""
    return [
        [guess["probability"] for guess in sorted(record["predictions"], key=lambda guess: guess["index"])]
        for record in records
    ]


def test_flips_and_crops_are_means_of_calibrated_probabilities(
    photos: list[str], weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def predicted(*options: str) -> list[list[float]]:
        assert (
            main(["predict", "photos", "--weights", weights, "--format", "json", "--num_workers", "0", *options]) == 0
        )
        return rows(json.loads(capsys.readouterr().out))

    plain = np.array(predicted())
    np.testing.assert_allclose(predicted("--flip", "true")[:2], (plain[:2] + plain[2:]) / 2, atol=2e-6)
    network, config = load_model(weights)
    crops = torch.stack([crops_transform(config.preprocessing)(load_image(path)) for path in photos])
    with torch.no_grad():
        logits = network(torch.cat([crops, crops.flip(-1)], dim=1).flatten(0, 1)).unflatten(0, (4, 10))
    views = (logits / TEMPERATURE).softmax(-1)
    np.testing.assert_allclose(predicted("--crops", "5"), views[:, :5].mean(1), atol=1e-5)
    np.testing.assert_allclose(predicted("--crops", "5", "--flip", "true"), views.mean(1), atol=1e-5)


@pytest.mark.usefixtures("photos")
def test_copies_are_saved_beside_the_records(weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/1.png").write_bytes(b"no image")
    command = ["predict", "photos", "--weights", weights, "--output", "names.jsonl", "--save_images", "out"]
    assert main([*command, "--top_k", "1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "dat: error: 1 of 4 images could not be read"
    assert sorted(path.name for path in Path("out/photos").iterdir()) == ["0.png", "2.png", "3.png"]
    with Image.open("out/photos/0.png") as copy, Image.open("photos/0.png") as original:
        assert copy.size == (192, 192)  # three times as large, for the letters
        assert original.size == (64, 64)


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--crops 4", "--crops must be one of 1, 5; got '4'"),
        ("--flip perhaps", "--flip must be true or false"),
        ("--save_images photos", "has files that are no copies of dat; give a new folder"),
        ("--save_images photos/new", "are in one another; give a folder elsewhere"),
    ],
)
def test_a_mistake_is_one_line(weights: str, options: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos", "--weights", weights, *options.split()]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
