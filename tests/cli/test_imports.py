"""What each command imports: seconds of waiting that nobody sees in the code, by what was imported and not how long.

Lightning itself imports torchvision, torchmetrics, matplotlib and half of PyTorch's compiler, so that commands which
run a network by it wait for all of these; what can be said before is said before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.main import COMMANDS
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

SELDOM = (
    "datasets", "deepspeed", "pandas", "pyarrow", "sklearn", "tensorboard", "tensorflow", "timm",
    "torch.utils.tensorboard", "transformers", "wandb",
)  # fmt: skip
OF_LIGHTNING = ("jsonargparse", "lightning", "torchmetrics")
HEAVY = ("torch", "torchvision", "matplotlib", "scipy", *OF_LIGHTNING, *SELDOM)
EASILY_TOLD = {
    "fit": ["--config nowhere", "--config tiny --data.source nowhere", "--weights nowhere.ckpt"],
    "validate": ["", "--weights nowhere", "-c nowhere"],
    "test": ["", "--weights nowhere"],
    "predict": ["", "nowhere.jpg", "--weights nowhere photo.png"],
    "explain": ["--help", "--pictur points photo.png", "nowhere.jpg", "--weights nowhere photo.png"],
    "embed": ["nowhere.jpg --output vectors.npy"],
    "calibrate": ["", "--weights nowhere"],
    "benchmark": ["--help", "--round 3", "dat_tinny"],
    "models": ["", "--help", "--format json"],
    "info": ["--help", "nowhere", "weights.safetensors"],
    "pull": ["--help", "dat_tinny"],
    "push": ["--help", "nowhere someone/digits"],
    "shard": ["--help", "nowhere out"],
    "convert": ["--help", "nowhere out.safetensors", "nowhere.pth out.safetensors", "photo.png out.safetensors"],
}
"""What a command can say without a network, and nearly all ways to begin wrongly."""
PROBE = """
import json, os, sys
from dat_cli.cli.main import main

found, sys.stdout = sys.stdout, open(os.devnull, "w")
for argv in json.loads(sys.argv[1]):
    try:
        code = main(argv)
    except SystemExit as end:
        code = end.code
    found.write(json.dumps([code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]) + "\\n")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a photograph and the weights of a small network."""
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    classes = ("cat", "dog")
    config = WeightsConfig("dat_tiny", classes, Preprocessing(input_size=(3, 32, 32)), model_args={"img_size": 32})
    network = create_model("dat_tiny", num_classes=len(classes), img_size=32)
    write_weights(tmp_path / "weights.safetensors", network.state_dict(), config)
    return tmp_path


def imported(folder: Path, *commands: str) -> list[tuple[int, list[str]]]:
    """Exit codes of commands that one process runs in turn, and which heavy modules it has imported by then."""
    argvs = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, argvs, json.dumps(HEAVY)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return [(code, modules) for code, modules in map(json.loads, done.stdout.splitlines())]


def test_what_needs_no_network_is_said_before_torch_is_imported(folder: Path) -> None:
    commands = [f"{name} {words}" for name, lines in EASILY_TOLD.items() for words in lines]
    for command, (code, modules) in zip(commands, imported(folder, *commands), strict=True):
        assert modules == [], command
        is_wrong = not command.endswith(("--help", "json", "weights.safetensors", "models "))
        assert code == (2 if is_wrong else 0), command


def test_every_command_has_something_to_say_early() -> None:
    assert set(EASILY_TOLD) == set(COMMANDS)


def test_networks_are_built_converted_and_explained_without_lightning(folder: Path) -> None:
    converted, explained = imported(
        folder,
        "convert weights.safetensors out.safetensors",
        "explain photo.png --weights out.safetensors --picture points",
    )
    for code, modules in (converted, explained):
        assert code == 0
        assert not set(modules) & {*OF_LIGHTNING, *SELDOM, "scipy"}
    assert "matplotlib" not in converted[1]


def test_what_few_need_is_imported_for_them_alone(folder: Path) -> None:
    lines = ["predict photo.png --weights weights.safetensors", "predict --help", "fit --help"]
    for line, (code, modules) in zip(lines, imported(folder, *lines), strict=True):
        assert code == 0, line
        assert not set(modules) & set(SELDOM), line
