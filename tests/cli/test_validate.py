"""``dat validate`` and ``dat test``."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from lightning.pytorch import Trainer
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.base import DatCLI
from dat_cli.cli.main import main
from dat_cli.cli.measure import _print_tables
from dat_cli.ops import kept
from dat_cli.report.findings import Findings
from dat_cli.weights import WeightsConfig, write_weights

ONE_BATCH = ["--trainer.limit_val_batches", "1", "--data.batch_size", "8"]


@pytest.mark.parametrize("command", ["validate", "test"])
def test_measuring_without_weights_is_one_line_that_says_what_to_pass(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", "tiny"]) == 2
    output = capfd.readouterr()
    assert "--weights" in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_json_stands_alone_on_stdout_and_equals_what_training_measured(trained_run: Path) -> None:
    config = ["--config", str(trained_run / "config.yaml")]  # the same images, and a config may say weights: null
    command = [sys.executable, "-m", "dat_cli", "validate", "--weights", str(trained_run), *config]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    with (trained_run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: (float(row["val_acc1"]), -float(row["val_loss"])))
    for name in ("val_loss", "val_acc1", "val_acc5", "val_f1"):
        assert result[name] == pytest.approx(float(best[name]), rel=1e-4)
    assert result["images"] == 8
    assert result["source"] == "digits"
    assert [row["class"] for row in result["classes"]] == list("0123456789")
    assert sum(row["images"] for row in result["classes"]) == 8
    assert sum(row["correct"] for row in result["classes"]) == round(8 * result["val_acc1"])


def test_the_table_has_scores_and_classes(trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--weights", str(trained_run), "--trainer.limit_test_batches", "1"]) == 0
    output = capfd.readouterr().out
    for word in ("digits", "images", "loss", "top-1", "top-5", "macro F1", "recall", "precision", "taken for"):
        assert word in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model.img_size", "64", "model.img_size is 64, but {run} was made with 32; convert the weights first"),
        ("--model.window", "5", "model.window is 5, but {run} was made with 7; convert the weights first"),
        ("--data.preprocessing.crop_pct", "0.5", "data.preprocessing.crop_pct is 0.5, but {run} was made with 1"),
    ],
)
def test_an_option_that_contradicts_the_weights_is_refused(
    trained_run: Path, capfd: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    assert main(["validate", "--weights", str(trained_run), option, value]) == 2
    assert said.format(run=trained_run / "best.safetensors") in capfd.readouterr().err


@pytest.mark.parametrize("command", ["validate", "fit", "predict"])
def test_weights_for_other_channels_than_pictures_have_are_refused(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    preprocessing = Preprocessing((4, 32, 32), mean=(0.5,) * 4, std=(0.5,) * 4)
    config = WeightsConfig("dat_tiny", ("a", "b"), preprocessing, {"img_size": 32, "in_chans": 4})
    write_weights(tmp_path / "four.safetensors", {}, config)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    images = [str(tmp_path)] if command == "predict" else []
    assert main([command, *images, "--weights", str(tmp_path / "four.safetensors")]) == 2
    assert "takes images of 4 channels; pictures have 1 or 3" in capfd.readouterr().err


def test_a_config_of_another_network_is_refused(trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--weights", str(trained_run), "--config", "base"]) == 2
    assert "model.arch is dat_base" in capfd.readouterr().err


def test_a_class_that_the_weights_lack_is_named(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "platypus"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.png").write_bytes(b"")
    assert main(["validate", "--weights", str(trained_run), "--data.source", str(tmp_path / "photos")]) == 2
    assert "platypus" in capfd.readouterr().err


def test_measuring_nothing_is_an_error(trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--weights", str(trained_run), "--trainer.limit_val_batches", "0"]) == 2
    assert "nothing was measured" in capfd.readouterr().err


def test_what_was_measured_lies_in_the_folder_of_the_run(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("best.safetensors", "config.yaml"):
        (run / name).symlink_to(trained_run / name)
    assert main(["validate", "--weights", str(run), *ONE_BATCH]) == 0
    assert f"report: {run}/val/report.html" in capfd.readouterr().err
    assert {entry.name for entry in run.iterdir()} == {"best.safetensors", "config.yaml", "val"}
    written = {entry.name for entry in (run / "val").iterdir()}
    tables, pictures = {"classes.csv", "confusion.csv", "mistakes.json"}, {"confusion.svg", "mistakes.png"}
    assert written == {"result.json", "report.html"} | tables | pictures
    with (run / "val" / "classes.csv").open(encoding="utf-8", newline="") as file:
        assert sum(int(row["images"]) for row in csv.DictReader(file)) == 8


def test_a_report_is_written_where_it_is_asked_for(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.safetensors").symlink_to(trained_run / "best.safetensors")
    command = ["validate", "--weights", str(tmp_path / "weights.safetensors"), *ONE_BATCH]
    assert main(command) == 0
    assert len(list(tmp_path.iterdir())) == 1  # weights alone are no run
    assert main([*command, "--report", str(tmp_path / "a" / "b")]) == 0
    page = tmp_path / "a" / "b" / "report.html"
    assert main([*command, "--report", str(page)]) == 2
    assert f"--report {page} is a file; give the name of a folder" in capfd.readouterr().err


def test_a_report_replaces_an_older_one_and_leaves_files_of_others(trained_run: Path, tmp_path: Path) -> None:
    for name in ("curves.svg", "notes.txt"):
        (tmp_path / name).write_text("mine")
    command = ["validate", "--weights", str(trained_run), *ONE_BATCH, "--report", str(tmp_path)]
    assert main(command) == 0
    (tmp_path / "classes.csv").write_text("of the first time")
    assert main(command) == 0
    assert (tmp_path / "classes.csv").read_text().startswith("name,")
    assert [(tmp_path / name).read_text() for name in ("curves.svg", "notes.txt")] == ["mine", "mine"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "config.yaml",
            "{} is the folder of a run (it holds config.yaml), whose own report would be lost; give {}/",
        ),
        ("best.safetensors", "{} is the folder of a run (it holds best.safetensors)"),
        ("classes.csv", "{}/classes.csv would be replaced, but is not of a report of dat; give another folder"),
        ("mistakes.png", "{}/mistakes.png would be replaced, but"),
        ("result.json", "{}/result.json would be replaced, but"),
    ],
)
def test_a_report_over_what_is_not_its_own_is_refused_before_anything_is_measured(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (tmp_path / name).write_text('{"images": 1}')
    assert main(["validate", "--weights", str(trained_run), *ONE_BATCH, "--report", str(tmp_path)]) == 2
    output = capfd.readouterr()
    assert said.replace("{}", str(tmp_path)) in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {name: '{"images": 1}'}


def test_a_report_into_no_folder_is_refused(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "--weights", str(trained_run), *ONE_BATCH, "--report", ""]) == 2
    output = capfd.readouterr()
    assert "--report is empty; give the name of a folder" in output.err
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_being_asked_no_file_of_others_is_replaced_either(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("best.safetensors", "config.yaml"):
        (tmp_path / name).symlink_to(trained_run / name)
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "classes.csv").write_text("mine")
    assert main(["validate", "--weights", str(tmp_path), *ONE_BATCH]) == 0
    assert "no report: " in capfd.readouterr().err
    assert [entry.name for entry in (tmp_path / "val").iterdir()] == ["classes.csv"]
    assert (tmp_path / "val" / "classes.csv").read_text() == "mine"


def test_classes_are_those_of_the_weights(trained_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--weights", str(trained_run), "--data.classes", "[a,b]"]) == 2
    assert "data.classes are not those of" in capfd.readouterr().err


def test_weights_are_constant_except_in_training() -> None:
    cli = DatCLI.__new__(DatCLI)
    methods = ("fit", "validate", "test", "predict")
    cli.trainer = cast(Trainer, SimpleNamespace(**{name: lambda: kept._of_constant is not None for name in methods}))
    assert [cli.run(name) for name in methods] == [False, True, True, True]
    assert kept._of_constant is None


def test_of_many_classes_the_screen_shows_the_weakest(capfd: pytest.CaptureFixture[str]) -> None:
    confusion = np.diag(np.arange(1000))
    confusion[7, 8] = 5
    rows = Findings("val", tuple(f"class {index}" for index in range(1000)), confusion, (), {}).per_class()
    result = {
        "weights": "w",
        "source": "s",
        "images": 1,
        **dict.fromkeys(("val_loss", "val_acc1", "val_acc5", "val_f1")),
    }
    _print_tables(result, rows, "val")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) < 30
    assert any(line.split()[:3] == ["class", "7", "12"] for line in lines)
    assert not any(line.startswith("class 999 ") for line in lines)
