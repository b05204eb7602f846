"""``dat info`` says what weights are without loading them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.catalog import VARIANTS, Preprocessing
from dat_cli.cli.main import main
from dat_cli.models import create_model
from dat_cli.ops import reference
from dat_cli.weights import WeightsConfig, write_weights
from dat_cli.weights.layout import write_layout

if TYPE_CHECKING:
    from tests.conftest import Hub

CLASSES = tuple(f"class {index}" for index in range(7))
SHAPE = Preprocessing(input_size=(3, 64, 96), crop_mode="center", crop_pct=0.9)
CONFIG = WeightsConfig(
    "dat_tiny",
    CLASSES,
    SHAPE,
    model_args={"img_size": 64},
    metrics={"val_acc1": 0.8125},
    trained_on="digits",
    license="apache-2.0",
    origin="theirs.pth",
    origin_sha256="ab" * 32,
)
HEAD = {"head.bias": torch.zeros(len(CLASSES))}  # for what does not depend on the tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return create_model("dat_tiny", num_classes=len(CLASSES), img_size=64).state_dict()


@pytest.fixture(scope="module")
def file(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_weights(path, tensors, CONFIG)
    return path


def _record(reference: str | Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["info", str(reference), "--format", "json"]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_json_has_all_that_the_file_says(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = _record(file, capsys)
    assert CONFIG.to_dict().items() <= record.items()
    assert record["path"] == str(file)
    assert record["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_parameters_and_macs_are_given_by_part_and_add_up(
    file: Path, tensors: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    record = _record(file, capsys)
    parts = {part["part"]: part for part in record["parts"]}
    assert list(parts) == ["stem", "stage 1", "stage 2", "stage 3", "stage 4", "norm", "head"]
    assert parts["head"] == {"part": "head", "parameters": 768 * 7 + 7, "macs": 768 * 7}
    assert record["parameters"] == sum(part["parameters"] for part in parts.values())
    assert record["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert record["macs"] == sum(part["macs"] for part in parts.values())


def test_the_table_says_it_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file)]) == 0
    out = capsys.readouterr().out
    for text in (
        "dat_tiny",
        "7: class 0, class 1, class 2, class 3, class 4, and 2 more",
        "96 x 64 pixels, 3 channels",
        "bicubic resize of the shorter side, centre crop of 0.9, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "img_size 64",
        "val_acc1 0.8125",
        "digits",
        "apache-2.0",
        "theirs.pth",
        "ab" * 32,
        hashlib.sha256(file.read_bytes()).hexdigest(),
    ):
        assert text in out
    rows = [line.split() for line in out.splitlines()]
    assert ["head", "5,383", "5,376"] in rows
    assert next(row for row in rows if row[:1] == ["total"])[1].startswith("27,")


def test_what_is_not_known_takes_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / "bare.safetensors", HEAD, WeightsConfig("dat_tiny", CLASSES, SHAPE))
    assert main(["info", str(tmp_path / "bare.safetensors")]) == 0
    out = capsys.readouterr().out
    for title in ("metrics", "trained on", "licence", "origin", "options"):
        assert title not in out


def test_names_cannot_hide_or_flood_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("\u200b" + "x" * 300, *CLASSES[1:])
    write_weights(tmp_path / "odd.safetensors", HEAD, WeightsConfig("dat_tiny", names, SHAPE))
    assert main(["info", str(tmp_path / "odd.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "\u200b" not in out
    assert "x" * 41 not in out
    assert _record(tmp_path / "odd.safetensors", capsys)["classes"] == list(names)


def test_tensors_of_no_network_of_ours_are_counted_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / "more.safetensors", {**HEAD, "stages.9.x": torch.ones(5)}, CONFIG)
    assert {"part": "other", "parameters": 5, "macs": 0} in _record(tmp_path / "more.safetensors", capsys)["parts"]


def test_weights_that_are_not_the_network_s_are_not_told_as_if_they_were(
    file: Path, tensors: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases: dict[str, tuple[dict[str, torch.Tensor], str]] = {
        "none": ({}, "18 missing (stem, stages.1.downsample, "),
        "deeper": ({**tensors, "stages.2.blocks.6.norm1.bias": torch.zeros(384)}, "1 unexpected (stages.2.blocks.6)"),
        "without a head": ({n: each for n, each in tensors.items() if not n.startswith("head.")}, "1 missing (head)"),
        "narrower": ({**tensors, "head.weight": torch.zeros(7, 512)}, "head.weight (7, 512) for (7, 768)"),
    }
    for name, (changed, said) in cases.items():
        write_weights(tmp_path / f"{name}.safetensors", changed, CONFIG)
        assert main(["info", str(tmp_path / f"{name}.safetensors")]) == 0
        (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert warning.startswith("dat: warning: these are not the tensors of a whole dat_tiny: ")
        assert said in warning
    assert main(["info", str(file)]) == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "window", "channels"), [("dat_tiny", 4, 1), ("dat_pp_tiny", 5, 4)])
def test_macs_are_those_of_the_window_and_the_channels_that_the_weights_have(
    name: str, window: int, channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_model(name, num_classes=7, img_size=64, window=window, in_chans=channels).eval()
    with FlopCounterMode(display=False) as counter, reference(), torch.no_grad():
        network(torch.zeros(1, channels, 64, 64))
    statistics = (0.5,) * channels
    shape = Preprocessing(input_size=(channels, 64, 64), mean=statistics, std=statistics)
    config = WeightsConfig(name, CLASSES, shape, model_args={"img_size": 64, "window": window, "in_chans": channels})
    write_weights(tmp_path / "other.safetensors", HEAD, config)
    macs = _record(tmp_path / "other.safetensors", capsys)["macs"]
    assert macs == pytest.approx(counter.get_total_flops() / 2, rel=2e-3)


def test_a_run_and_a_checkpoint_of_it_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_weights(tmp_path / "best.safetensors", HEAD, CONFIG)
    state = {f"network.{name}": tensor for name, tensor in HEAD.items()}
    torch.save({"state_dict": state, "dat": CONFIG.to_dict()}, tmp_path / "last.ckpt")
    best, last = _record(tmp_path, capsys), _record(tmp_path / "last.ckpt", capsys)
    assert best["path"] == str(tmp_path / "best.safetensors")
    own = {"name", "path", "sha256"}
    assert {name: last[name] for name in last if name not in own} == {
        name: best[name] for name in best if name not in own
    }


def _plant(hub: Hub, folder: Path) -> str:
    """Weights in the repository tester/dat, and their commit."""
    written = write_layout(folder, HEAD, CONFIG)
    return [hub.plant("tester/dat", path.name, path.read_bytes(), path.suffix == ".safetensors") for path in written][
        -1
    ]


def test_weights_on_the_hub(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit = _plant(hub, tmp_path)
    record = _record("tester/dat", capsys)
    assert record["name"] == f"tester/dat@{commit}"
    assert record["sha256"] == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert CONFIG.to_dict().items() <= record.items()


def test_macs_are_those_of_the_size_that_the_weights_are_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variant = VARIANTS["dat_base_384"]
    config = WeightsConfig(variant.name, tuple(map(str, range(1000))), variant.preprocessing)
    write_weights(tmp_path / "published.safetensors", HEAD, config)
    macs = _record(tmp_path / "published.safetensors", capsys)["macs"]
    assert macs / 1e9 == pytest.approx(variant.published.macs, abs=0.011)


def test_torch_is_imported_neither_for_a_file_nor_for_the_hub(hub: Hub, file: Path, tmp_path: Path) -> None:
    _plant(hub, tmp_path)
    code = (
        "import sys; from dat_cli.cli.main import main;"
        "codes = [main(['info', name]) for name in sys.argv[1:]]; sys.exit(codes != [0, 0] or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(file), "tester/dat"]
    done = subprocess.run(command, env=hub.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["missing.safetensors"], "there are no weights 'missing.safetensors'"),
        ([], "required: weights"),
        (["a.safetensors", "--format", "yaml"], "invalid choice: 'yaml'"),
        (["a.safetensors", "--formt", "json"], "did you mean --format?"),
    ],
)
def test_wrong_usage_is_one_line(argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert problem in captured.err
    assert captured.err.count("\n") == 1
