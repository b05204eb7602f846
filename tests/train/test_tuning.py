"""What a trial finds, and that it leaves the run as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from dat_cli.cli.main import main
from dat_cli.data.batch import Batch
from dat_cli.data.module import ImageDataModule
from dat_cli.errors import UsageError
from dat_cli.train import tuning
from dat_cli.train.classification import Classification
from dat_cli.train.optim import OptimizerConfig
from dat_cli.train.rates import RateTrial, suggested
from dat_cli.train.tuning import find_batch_size, find_lr


@pytest.fixture
def data() -> ImageDataModule:
    return ImageDataModule(image_size=32, batch_size=2, num_workers=0)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer(
        accelerator="cpu",
        limit_train_batches=2,
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _module(data: ImageDataModule, lr_batch_size: int | None = None) -> Classification:
    return Classification(data.classes, data.preprocessing, optimizer=OptimizerConfig(lr_batch_size=lr_batch_size))


def test_finding_a_rate_changes_nothing_and_gives_it_as_the_option_means_it(
    trainer: Trainer, data: ImageDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)  # not every new network's loss falls within six steps
    module = _module(data, lr_batch_size=512)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.get_rng_state()
    found = find_lr(trainer, module, data, steps=6)
    assert all(before[name].equal(tensor) for name, tensor in module.state_dict().items())
    assert random.equal(torch.get_rng_state())
    assert data.trainer is None
    assert list(tmp_path.iterdir()) == []
    # A step learns from 2 x 2 images, and the option is for 512.
    assert found.rates[0] == pytest.approx(1e-7 * 512 / 4)
    assert len(found.rates) == len(found.losses)
    found.write(tmp_path)
    assert "<svg" in (tmp_path / "lr_find.svg").read_text(encoding="utf-8")
    assert (tmp_path / "lr_find.csv").read_text(encoding="utf-8").count("\n") == len(found.rates) + 1


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ([3.0, 3.0, 2.9, 2.0, 1.0, 5.0], 1e-4),
        ([3.0, 3.0, 2.9, float("nan"), 1.0, float("inf")], 1e-4),
        ([1.0, 2.0, 3.0], None),
    ],
)
def test_the_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss(losses: list[float], rate: float | None) -> None:
    assert suggested([1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2], losses) == (None if rate is None else pytest.approx(rate))


def test_the_batch_doubles_until_memory_is_full(
    trainer: Trainer, data: ImageDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def train(module: Classification, batch: Batch, *_: int) -> torch.Tensor:
        size = len(batch.labels)
        tried.append(size)
        if size > 12:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return next(module.parameters()).sum()

    monkeypatch.setattr(Classification, "training_step", train)
    assert find_batch_size(trainer, _module(data), data) == 8
    assert list(dict.fromkeys(tried)) == [2, 4, 8, 16]
    assert data.batch_size == 2

    data.batch_size = 64
    assert find_batch_size(trainer, _module(data), data) == 8


def test_a_cpu_is_not_filled(trainer: Trainer, data: ImageDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "training_step", lambda module, *_: next(module.parameters()).sum())
    used = iter([1e9, 2e9, 3e9, 5e9])  # what two, four and eight images make of a process of 1 GB
    monkeypatch.setattr(tuning, "most_used", lambda: next(used))
    monkeypatch.setattr(tuning, "free_memory", lambda: int(9e9))
    assert find_batch_size(trainer, _module(data), data) == 8  # sixteen would take 8 GB of 7.2


def test_several_processes_find_nothing(
    trainer: Trainer, data: ImageDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(trainer), "world_size", 2)
    with pytest.raises(UsageError, match="--find_lr works in one process, not in 2"):
        find_lr(trainer, _module(data), data)


def test_a_run_that_finds_its_numbers_is_one_that_is_given_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trial = RateTrial((1e-6, 1e-5, 1e-4), (3.0, 2.0, 1.0), 1e-5)
    monkeypatch.setattr("dat_cli.cli.tune.find_lr", lambda *_: trial)
    monkeypatch.setattr("dat_cli.cli.tune.find_batch_size", lambda *_: 4)
    small = ["fit", "--config", "tiny", "--data.image_size", "32", "--trainer.limit_train_batches", "2"]
    few = ["--trainer.limit_val_batches", "1", "--trainer.max_epochs", "1", "--output_dir", str(tmp_path)]
    assert main([*small, *few, "--name", "found", "--find_lr", "true", "--find_batch_size", "true"]) == 0
    given = ["--data.batch_size", "4", "--model.optimizer.lr", "1e-5"]
    assert main([*small, *few, "--name", "given", *given]) == 0
    found, told = (tmp_path / name / "version_0" for name in ("found", "given"))
    assert (found / "metrics.csv").read_bytes() == (told / "metrics.csv").read_bytes()
    options, others = (yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")) for run in (found, told))
    assert {**options, "name": None} == {**others, "name": None}
    assert (found / "lr_find.svg").is_file()
    assert "--model.optimizer.lr 1e-05" in capfd.readouterr().err
