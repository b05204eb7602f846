"""Options of a training that do not go together, and what ends one early."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dat_cli.cli.main import main

SMALL = ["fit", "--config", "tiny", "--data.image_size", "32", "--data.batch_size", "4"]
FEW = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--patience", "0"], "--patience is 0, not at least 1"),
        (["--patience", "2", "--trainer.limit_val_batches", "0"], "--patience needs validations"),
        (["--ema_decay", "0.9", "--trainer.strategy", "fsdp"], "--ema_decay needs whole weights in each process"),
        (["--ema_decay", "0.999", "--trainer.precision", "bf16-true"], "--ema_decay is lost in bf16-true"),
        (["--data.sampling", "balanced", "--model.class_weights", "balanced"], "favours rare classes twice"),
        (["--loggers", "mlflow"], "--loggers must be one of tensorboard, wandb"),
        (["--data.auto_augment", "rand-m9-mstd0,5"], "data.auto_augment is 'rand-m9-mstd0,5'"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_read(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, *options, "--output_dir", str(tmp_path / "runs")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_options_that_can_hardly_be_meant_are_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = ["--trainer.fast_dev_run", "true", "--model.optimizer.layer_decay", "0.7"]
    assert main([*SMALL, *trial, "--trainer.max_epochs", "3", "--model.optimizer.warmup_epochs", "5"]) == 0
    said = capsys.readouterr().err
    assert "layer_decay is for networks that know something" in said
    assert "the learning rate rises for 5 epochs, but there are 3" in said


def test_a_run_out_of_patience_says_so_and_one_logger_needs_no_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = [
        "--model.optimizer.lr",
        "1e-12",
        "--patience",
        "1",
        "--trainer.max_epochs",
        "5",
        "--loggers",
        "tensorboard",
    ]
    assert main([*SMALL, *FEW, *still, "--output_dir", str(tmp_path), "--name", "still"]) == 0
    assert "stopped after epoch 2: no better top-1 in 1 validations" in capsys.readouterr().err
    run = tmp_path / "still" / "version_0"
    assert yaml.safe_load((run / "config.yaml").read_text())["loggers"] == ["tensorboard"]
    assert list((run / "tensorboard").iterdir())
