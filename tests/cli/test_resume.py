"""A run that was stopped anywhere goes on to the very same numbers, as if it had never been stopped."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import dict_to_namespace

from dat_cli.cli.main import main
from dat_cli.cli.resume import find_requeued, find_run, take_found, usable_checkpoint
from dat_cli.train.classification import Classification
from dat_cli.weights import open_checkpoint, read_tensors

SMALL = [
    "--config", "tiny", "--data.image_size", "32", "--data.batch_size", "4", "--trainer.limit_train_batches", "4",
    "--trainer.limit_val_batches", "2",
]  # fmt: skip
EVERYTHING = [
    "--trainer.max_epochs", "2", "--trainer.accumulate_grad_batches", "2", "--ema_decay", "0.9", "--patience", "5",
    "--data.num_workers", "1", "--model.mixing.mixup", "0.8", "--data.erasing", "0.5",
]  # fmt: skip

Losses = dict[tuple[int, int], float]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    """The loss of each batch of this test's trainings, by epoch and batch; of a repeated batch the last."""
    seen: Losses = {}
    step = Classification.training_step

    def noted(module: Classification, batch: Any, index: int) -> Any:
        loss = step(module, batch, index)
        seen[module.current_epoch, index] = loss.item()
        return loss

    monkeypatch.setattr(Classification, "training_step", noted)
    return seen


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Losses]]:
    """A run with everything that a checkpoint has to hold, which nobody stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        seen: Losses = {}
        step = Classification.training_step

        def noted(module: Classification, batch: Any, index: int) -> Any:
            loss = step(module, batch, index)
            seen[module.current_epoch, index] = loss.item()
            return loss

        patch.setattr(Classification, "training_step", noted)
        assert main(["fit", *SMALL, *EVERYTHING, "--output_dir", str(folder), "--name", "run"]) == 0
    yield folder / "run" / "version_0", seen
    shutil.rmtree(folder)  # checkpoints are large


def _stop_at(patch: pytest.MonkeyPatch, hook: str, place: tuple[int, int], number: signal.Signals) -> None:
    """Send this process a signal within a hook that is given a batch and its index."""
    original = getattr(Classification, hook)

    def signalled(module: Classification, batch: Any, index: int) -> Any:
        if (module.current_epoch, index) == place and not module.trainer.sanity_checking:
            os.kill(os.getpid(), number)
        return original(module, batch, index)

    patch.setattr(Classification, hook, signalled)


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _differences(ours: object, theirs: object, place: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = set(ours) | set(theirs)
        return [x for name in names for x in _differences(ours.get(name), theirs.get(name), f"{place}.{name}")]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        return [x for i, pair in enumerate(zip(ours, theirs, strict=True)) for x in _differences(*pair, f"{place}.{i}")]
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [place]
    return [] if ours == theirs else [place]


@pytest.mark.parametrize(
    ("hook", "place", "number", "code", "step", "times"),
    [
        ("training_step", (1, 0), signal.SIGTERM, 143, 3, 1),  # within accumulation: the step is finished first
        ("validation_step", (0, 1), signal.SIGINT, 130, 2, 2),
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers_in_every_file(
    undisturbed: tuple[Path, Losses],
    losses: Losses,
    hook: str,
    place: tuple[int, int],
    number: signal.Signals,
    code: int,
    step: int,
    times: int,
    tmp_path: Path,
) -> None:
    expected, expected_losses = undisturbed
    run = tmp_path / "run" / "version_0"
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(patch, hook, place, number)
        assert main(["fit", *SMALL, *EVERYTHING, "--output_dir", str(tmp_path), "--name", "run"]) == code
        for _ in range(times - 1):
            assert main(["fit", "--resume", str(run)]) == code
    assert open_checkpoint(run / "last.ckpt")["global_step"] == step

    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0  # the folder of all versions means the newest
    assert losses == expected_losses
    assert _rows(run) == _rows(expected)
    assert _differences(open_checkpoint(run / "last.ckpt"), open_checkpoint(expected / "last.ckpt")) == []
    ours, theirs = (read_tensors(folder / "best.safetensors") for folder in (run, expected))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["version_0"]


def test_the_kept_weights_are_the_averaged_ones(undisturbed: tuple[Path, Losses]) -> None:
    run, _ = undisturbed
    checkpoint = open_checkpoint(run / "last.ckpt")
    average, trained = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert any(not average[name].equal(trained[name]) for name in average)
    best = max(_rows(run), key=lambda row: (float(row["val_acc1"]), -float(row["val_loss"])))
    if best["epoch"] == "2":
        kept = read_tensors(run / "best.safetensors")
        assert all(tensor.equal(average[f"network.{name}"]) for name, tensor in kept.items())


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(
    undisturbed: tuple[Path, Losses], losses: Losses, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected, expected_losses = undisturbed
    run = tmp_path / "version_0"
    shutil.copytree(expected, run)
    os.truncate(run / "last.ckpt", (run / "last.ckpt").stat().st_size // 2)
    assert main(["fit", "--resume", str(run)]) == 0
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "previous.ckpt" in line]
    assert warning.startswith("dat: warning: ")
    assert "last.ckpt" in warning
    assert "going on from previous.ckpt, after step 2" in warning
    assert losses == {place: loss for place, loss in expected_losses.items() if place[0] == 1}
    assert _rows(run) == _rows(expected)


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_of_two_checkpoints_the_one_that_is_whole_is_used(
    undisturbed: tuple[Path, Losses], harm: str, tmp_path: Path
) -> None:
    run = tmp_path / "version_0"
    shutil.copytree(undisturbed[0], run)
    if harm == "missing":
        (run / "last.ckpt").unlink()
    else:
        with (run / "last.ckpt").open("r+b") as file:
            file.seek((run / "last.ckpt").stat().st_size // 2)
            file.write(b"damaged!" * 4)
    assert find_run(str(tmp_path)) == run
    assert usable_checkpoint(run)[0] == run / "previous.ckpt"


def test_without_any_whole_checkpoint_there_is_one_line(
    undisturbed: tuple[Path, Losses], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "version_0"
    run.mkdir()
    shutil.copy(undisturbed[0] / "config.yaml", run)
    for name in ("last.ckpt", "previous.ckpt"):
        (run / name).write_bytes(b"nothing")
    assert main(["fit", "--resume", str(run)]) == 2
    assert "previous.ckpt" in capfd.readouterr().err


def test_a_run_that_early_stopping_has_ended_is_finished(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["fit", *SMALL, "--trainer.limit_train_batches", "1", "--model.optimizer.lr", "1e-12", "--patience", "1"]
    assert main([*command, "--trainer.max_epochs", "9", "--output_dir", str(tmp_path), "--name", "run"]) == 0
    run = tmp_path / "run" / "version_0"
    assert len(_rows(run)) == 2
    capfd.readouterr()
    assert main(["fit", "--resume", str(run)]) == 2
    assert "finished after 2 epochs" in capfd.readouterr().err


def test_a_requeued_job_finds_its_run_by_its_options_but_for_what_it_found_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "version_0"
    run.mkdir()
    begun = {
        "find_lr": False,
        "find_batch_size": False,
        "model": {"optimizer": {"lr": 3e-4}},
        "data": {"batch_size": 8},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(begun))
    (run / "slurm_job.txt").write_text("77\n")
    (run / "last.ckpt").touch()
    for name, value in (("JOB_ID", "77"), ("RESTART_COUNT", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    asked = {**begun, "find_lr": True, "model": {"optimizer": {"lr": 5e-4}}}
    assert find_requeued(tmp_path, asked) == run
    assert find_requeued(tmp_path, {**asked, "data": {"batch_size": 4}}) is None
    assert find_requeued(tmp_path, {**asked, "find_lr": False}) is None
    options: Any = dict_to_namespace(asked)
    take_found(run, options)
    assert (options.find_lr, options.model.optimizer.lr, options.data.batch_size) == (False, 3e-4, 8)
