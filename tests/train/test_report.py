"""The pictures and the page of a run, kept up to date while it trains."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dat_cli.report.files import read_findings
from dat_cli.report.findings import Findings
from dat_cli.train.callbacks.report import Report

ACCURACY = (0.3, 0.9, 0.6)  # of three validations: the second is the best


class Folder(Checkpoint):
    """Keeps the best weights as the folder of a run does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._best = -1.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Measured)
        if not trainer.sanity_checking and pl_module.accuracy > self._best:
            self._best = pl_module.accuracy
            (self.path / "best.safetensors").write_text(f"{self._best}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        with (self.path / "metrics.csv").open("a") as file:
            file.write(f"{'' if trainer.current_epoch else 'epoch,train_loss'}\n{trainer.current_epoch + 1},0.5")


class Measured(LightningModule):
    """Finds ten pictures in each validation, as many of them right as ``ACCURACY`` says."""

    findings: Findings | None = None

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    @property
    def accuracy(self) -> float:
        return ACCURACY[self.current_epoch]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        return self.layer(batch[0]).sum()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        right = round(10 * self.accuracy)
        self.findings = Findings(
            "val", ("a", "b"), np.array([[right, 10 - right], [0, 0]]), (), {"acc1": self.accuracy}
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(path: Path, interval: float = 60.0) -> None:
    folder: Any = Folder(path)
    trainer = Trainer(
        callbacks=[folder, Report(folder, interval)],
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=path,
    )
    loader = DataLoader(TensorDataset(torch.zeros(2, 1)))
    trainer.fit(Measured(), loader, loader)


def test_the_findings_are_those_of_the_best_weights(tmp_path: Path) -> None:
    train(tmp_path)
    found = read_findings(tmp_path)
    assert found is not None
    assert (found.scores, found.correct) == ({"acc1": 0.9}, 9)
    assert (tmp_path / "best.safetensors").read_text() == "0.9"


def test_the_page_has_the_last_epoch(tmp_path: Path) -> None:
    train(tmp_path)
    assert "trained for 3 epochs" in " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("interval", "pages"), [(0.0, 2), (60.0, 1)])
def test_it_is_drawn_again_within_a_training_but_not_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float, pages: int
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr("dat_cli.train.callbacks.report.write_report", drawn.append)
    monkeypatch.setattr("dat_cli.train.callbacks.report.SHARE", 1e-9)  # the first took too long for a second
    train(tmp_path, interval)
    assert len(drawn) == pages


def test_a_report_that_cannot_be_drawn_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "report.html").mkdir()
    (tmp_path / "classes.csv").mkdir()
    with caplog.at_level(logging.WARNING, logger="dat.train"):
        train(tmp_path)
    said = [record.getMessage() for record in caplog.records if record.name == "dat.train"]
    assert any(line.startswith("the findings could not be written: UsageError: ") for line in said)
    assert any(line.startswith("the report could not be written: UsageError: ") for line in said)
