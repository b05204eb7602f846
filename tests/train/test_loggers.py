"""TensorBoard, and Weights & Biases without a network."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
from lightning.pytorch.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]  # it has no types
    EventAccumulator,
)

from dat_cli.errors import UsageError
from dat_cli.train.loggers import make_loggers


def _log(logger: Logger) -> None:
    for step in range(3):
        logger.log_metrics({"train_loss": 1.0 / (step + 1)}, step)
        logger.save()
    logger.finalize("success")


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    (logger,) = make_loggers(["tensorboard"], lambda: tmp_path, "name")
    _log(logger)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [
        (0, 1.0),
        (1, 0.5),
        (2, pytest.approx(1 / 3)),
    ]


def test_a_run_that_goes_on_adds_to_what_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        (logger,) = make_loggers(["tensorboard"], lambda: tmp_path, "name")
        _log(logger)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tensorboard"]


def test_wandb_writes_offline_and_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (logger,) = make_loggers(["wandb"], lambda: tmp_path, "name")
    _log(logger)
    (recorded,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert _appears(b"train_loss", recorded)
    assert capfd.readouterr().out == ""


def test_nothing_is_written_before_there_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (logger,) = make_loggers(["tensorboard"], lambda: None, "name")
    _log(logger)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("dat_cli.train.loggers.find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(UsageError, match=r"wandb is not installed; pip install 'dat-cli\[wandb\]'"):
        make_loggers(["tensorboard", "wandb"], lambda: None, "name")


def test_an_unknown_logger_is_met_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no logger 'tensorbord'; did you mean 'tensorboard'"):
        make_loggers(["tensorbord"], lambda: None, "name")


def _appears(text: bytes, file: Path) -> bool:
    """Whether a file comes to hold a text: a process of wandb's own writes it, a little later."""
    until = time.monotonic() + 20
    while text not in file.read_bytes():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
