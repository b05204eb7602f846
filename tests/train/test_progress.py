"""Progress of a training, as a log and as a bar, with real trainings of a tiny network."""

from __future__ import annotations

import io
import logging
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dat_cli.train.callbacks import ProgressBar, ProgressLines
from dat_cli.train.callbacks.pace import duration

Batch = list[Tensor]
Lines = Callable[[], list[str]]


class Constant(LightningModule):
    """Its loss is 2, whatever it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        loss = 2.0 + 0.0 * self.layer(batch[0]).sum()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        self.log("val_loss", torch.tensor(1.0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.125)


def train(callbacks: list[Callback], path: Path, ckpt_path: Path | None = None, **options: Any) -> Trainer:
    """Train on 24 pictures in batches of 4."""
    loader = DataLoader(TensorDataset(torch.zeros(24, 1), torch.zeros(24, 1)), batch_size=4)
    trainer = Trainer(
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=path,
        **{"max_epochs": 2, "enable_progress_bar": False, **options},
    )
    trainer.fit(Constant(), loader, loader, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trainer


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Gives our lines so far; Lightning has its own."""
    caplog.set_level(logging.INFO, logger="dat.train")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "dat.train"]


def test_an_epoch_is_a_line_with_losses_speed_and_time_left(tmp_path: Path, lines: Lines) -> None:
    train([ProgressLines()], tmp_path)
    first, second = lines()
    assert re.fullmatch(
        r"epoch 1/2  step 6  train_loss 2\.0000  val_loss 1\.0000  \d+ s, [\d.]+ images/s  \d+ s left", first
    )
    assert second.startswith("epoch 2/2  step 12")
    assert second.endswith(" 0 s left")


def test_lines_within_an_epoch_have_the_true_loss_and_count_batches_under_accumulation(
    tmp_path: Path, lines: Lines
) -> None:
    train([ProgressLines(interval=0)], tmp_path, accumulate_grad_batches=3, max_epochs=1)
    within = [line for line in lines() if "batch" in line]
    assert [re.findall(r"batch (\d)/6  loss (\S+)  lr (\S+)", line) for line in within] == [
        [(str(number), "2.0000", "1.25e-01")] for number in range(1, 6)
    ]
    assert "step 2 " in lines()[-1]  # two steps of the optimizer


def test_a_resumed_training_counts_its_own_time_alone(tmp_path: Path, lines: Lines) -> None:
    train([], tmp_path, max_epochs=9).save_checkpoint(tmp_path / "last.ckpt")
    train([ProgressLines()], tmp_path, tmp_path / "last.ckpt", max_epochs=10)
    (line,) = lines()
    assert line.startswith("epoch 10/10  step 60")
    assert line.endswith(" 0 s left")


class Saver(Callback):
    """Saves a checkpoint in the middle of an epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        del pl_module
        if rest[-1] == 2:
            trainer.save_checkpoint(self.path)


def test_an_epoch_that_goes_on_is_timed_from_there(tmp_path: Path, lines: Lines) -> None:
    train([Saver(tmp_path / "mid.ckpt")], tmp_path, max_epochs=1)
    train([ProgressLines()], tmp_path, tmp_path / "mid.ckpt", max_epochs=1)
    (line,) = lines()
    assert re.search(r"  \d+ s, [\d.]+ images/s", line)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"max_epochs": None, "max_steps": 9}, "epoch 1 "),
        ({"max_epochs": -1, "max_steps": 9}, "epoch 1 "),
        ({"max_epochs": 3, "callbacks": [EarlyStopping("val_loss")]}, "at most"),
    ],
    ids=["steps", "steps alone", "early stopping"],
)
def test_the_end_is_said_as_far_as_it_is_known(
    tmp_path: Path, lines: Lines, options: dict[str, Any], shown: str
) -> None:
    options = dict(options)
    train([ProgressLines(), *options.pop("callbacks", [])], tmp_path, **options)
    assert shown in lines()[0]
    assert "at most" not in lines()[-1]


@pytest.mark.parametrize("batches", [10, 10_000], ids=["short epochs", "long epochs"])
def test_a_month_is_some_thousand_lines(batches: int, monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    trainer: Any = SimpleNamespace(
        is_global_zero=True, world_size=1, accumulate_grad_batches=1, should_stop=False, max_epochs=10**6,
        num_training_batches=batches, estimated_stepping_batches=math.inf, current_epoch=0, global_step=0,
        callback_metrics={}, callbacks=[], optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])],
    )  # fmt: skip
    callback, module, loss = ProgressLines(), Constant(), torch.tensor(1.0)
    callback.on_train_start(trainer, module)
    for _ in range(30 * 24 * 3600 // 60 // batches):
        callback.on_train_epoch_start(trainer, module)
        for index in range(batches):
            now += 60.0
            callback.on_train_batch_end(trainer, module, loss, (None, [0]), index)
        callback.on_train_epoch_end(trainer, module)
    assert 1000 < len(lines()) < 8000


def test_the_bar_has_loss_rate_speed_and_time_left_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("dat_cli.train.callbacks.progress._GLANCE", 0.0)
    train([ProgressBar()], tmp_path, enable_progress_bar=True, accumulate_grad_batches=2)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert "Epoch 2/2" in shown
    assert re.search(r"6/6 .*loss: 2\.0000 lr: 1\.25e-01 images/s: [\d.]+ time: \d+ s left", shown)
    assert capfd.readouterr().out == ""


def test_durations_are_said_as_people_say_them() -> None:
    said = [duration(seconds) for seconds in (0, 59.6, 125, 12_000, 540_000)]
    assert said == ["0 s", "1 min 00 s", "2 min 05 s", "3 h 20 min", "6 d 06 h"]
