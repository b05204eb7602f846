"""The folder of a run."""

from __future__ import annotations

import csv
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

from dat_cli.cli.main import main
from dat_cli.train.callbacks.log_file import LogFile
from dat_cli.train.callbacks.table import COLUMNS, add_row, keep_rows
from dat_cli.train.callbacks.versions import next_version, versions
from dat_cli.weights import read_config, read_tensors


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_keeps_what_is_needed_and_nothing_else(trained_run: Path) -> None:
    names = {entry.name for entry in trained_run.iterdir()}
    assert names >= {"config.yaml", "environment.json", "metrics.csv", "best.safetensors", "train.log"}
    assert {name for name in names if name.endswith((".ckpt", ".tmp"))} == {"last.ckpt", "previous.ckpt"}


def test_metrics_have_a_row_for_each_epoch(trained_run: Path) -> None:
    rows = _rows(trained_run)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4")]
    assert all(float(value) == float(value) for row in rows for value in row.values())  # nan differs from itself


def test_the_config_has_every_option_and_the_precision_that_was_chosen(trained_run: Path) -> None:
    options = yaml.safe_load((trained_run / "config.yaml").read_text(encoding="utf-8"))
    assert options["data"]["image_size"] == 32
    assert options["model"]["optimizer"]["lr"] == 5e-4
    assert options["trainer"]["precision"] in ("32-true", "bf16-mixed", "16-mixed")
    assert "resume" not in options


def test_the_checkpoint_opens_without_running_code(trained_run: Path) -> None:
    checkpoint = torch.load(trained_run / "last.ckpt", weights_only=True, map_location="cpu")  # noqa: TID251 - the point
    assert checkpoint["dat"]["architecture"] == "dat_tiny"
    assert read_config(trained_run / "last.ckpt").classes == tuple("0123456789")


def test_the_best_weights_are_self_contained_and_are_those_of_the_best_epoch(trained_run: Path) -> None:
    config = read_config(trained_run / "best.safetensors")
    assert (config.architecture, config.classes) == ("dat_tiny", tuple("0123456789"))
    assert config.preprocessing.input_size == (3, 32, 32)
    assert config.trained_on == "digits"
    best = max(_rows(trained_run), key=lambda row: (float(row["val_acc1"]), -float(row["val_loss"])))
    assert config.metrics["val_acc1"] == pytest.approx(float(best["val_acc1"]))
    assert config.metrics["val_loss"] == pytest.approx(float(best["val_loss"]))
    assert all(tensor.isfinite().all() for tensor in read_tensors(trained_run / "best.safetensors").values())


def test_the_log_has_the_epochs_without_escape_codes(trained_run: Path) -> None:
    text = (trained_run / "train.log").read_text(encoding="utf-8")
    assert "epoch 1/2" in text
    assert "epoch 2/2" in text
    assert "\x1b" not in text


def test_no_handler_of_a_log_outlives_its_run(trained_run: Path, tmp_path: Path) -> None:
    assert trained_run.exists()
    # A run that fails before its first step has a log as well.
    impossible = ["--trainer.accelerator", "cpu", "--trainer.precision", "16-mixed"]
    assert main(["fit", "--output_dir", str(tmp_path), *impossible]) == 2
    kinds = {
        type(handler).__name__ for name in ("dat", "lightning.pytorch") for handler in logging.getLogger(name).handlers
    }
    assert "MemoryHandler" not in kinds


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(next_version, [tmp_path / "runs"] * 16))
    assert sorted(path.name for path in paths) == sorted(f"version_{number}" for number in range(16))


def test_versions_go_on_after_the_highest(tmp_path: Path) -> None:
    for name in ("version_3", "version_11", "version_x", "other"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path).name == "version_12"
    assert [path.name for path in versions(tmp_path)] == ["version_3", "version_11", "version_12"]


@pytest.mark.parametrize("torn", ["", "3,6,0.", "3,", "1"])
def test_a_resumed_run_drops_rows_that_it_will_write_again_and_one_that_was_being_written(
    tmp_path: Path, torn: str
) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text(f"epoch,step,train_loss\n1,2,0.5\n2,4,0.4\n3,6,0.3\n{torn}")
    keep_rows(table, 2)
    add_row(table, {"epoch": 3, "step": 6, "lr": 0.1})
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["epoch"], row["train_loss"], row["lr"]) for row in rows] == [
        ("1", "0.5", ""), ("2", "0.4", ""), ("3", "", "0.1"),
    ]  # fmt: skip


def test_a_full_disk_does_not_fill_the_screen_with_lines_about_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.log").symlink_to("/dev/full")
    log = LogFile()
    log.write_to(tmp_path / "train.log")
    logging.getLogger("dat.train").warning("a line")
    log.close()
    assert "Logging error" not in capfd.readouterr().err


@pytest.mark.parametrize("minutes", ["-1", "nan", "often"])
def test_the_time_between_two_checkpoints_is_a_time(
    minutes: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--save_minutes", minutes, "--output_dir", str(tmp_path)]) == 2
    assert "error: --save_minutes " in capfd.readouterr().err
