"""A training that is not finite any more stops, says where, and keeps nothing of it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dat_cli.cli.main import main
from dat_cli.data.batch import Batch
from dat_cli.train.callbacks.finite import SKIPPED, NotFinite, not_finite
from dat_cli.train.classification import Classification
from dat_cli.weights import open_checkpoint, read_tensors

SMALL = ["--config", "tiny", "--data.image_size", "32", "--data.batch_size", "4", "--trainer.limit_val_batches", "1"]
NAN = float("nan")


def _fit(folder: Path, *options: str) -> tuple[int, Path]:
    code = main(["fit", *SMALL, "--output_dir", str(folder), "--name", "run", *options])
    return code, folder / "run" / "version_0"


def _poison(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int, value: float) -> None:
    """Make the pictures of one batch what no picture is."""
    step = Classification.training_step

    def poisoned(module: Classification, given: Batch, index: int) -> Any:
        if (module.current_epoch, index) == (epoch, batch):
            given = given._replace(images=given.images * value)
        return step(module, given, index)

    monkeypatch.setattr(Classification, "training_step", poisoned)


def test_a_poisoned_batch_stops_the_run_with_its_place_and_files_and_is_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _poison(monkeypatch, epoch=1, batch=1, value=NAN)
    options = ["--trainer.limit_train_batches", "3", "--trainer.max_epochs", "2", "--save_minutes", "0"]
    code, run = _fit(tmp_path, *options, "--ema_decay", "0.9")
    assert code == 1
    (error,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert "the loss is nan in epoch 2, step 5 (batch 2), with image " in error
    assert "--model.optimizer.lr" in error
    assert len((run / "not_finite.txt").read_text(encoding="utf-8").splitlines()) == 4
    for name in ("last.ckpt", "previous.ckpt"):
        checkpoint = open_checkpoint(run / name)
        assert checkpoint["global_step"] < 5
        for state in ("state_dict", "current_model_state"):
            assert all(tensor.isfinite().all() for tensor in checkpoint[state].values()), (name, state)
    assert all(tensor.isfinite().all() for tensor in read_tensors(run / "best.safetensors").values())


def test_a_batch_that_is_accumulated_is_named_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _poison(monkeypatch, epoch=0, batch=1, value=NAN)
    code, run = _fit(
        tmp_path, "--trainer.limit_train_batches", "3", "--trainer.accumulate_grad_batches", "3",
        "--trainer.max_epochs", "1",
    )  # fmt: skip
    assert code == 1
    assert "in epoch 1, step 1 (batch 3)" in capfd.readouterr().err
    assert len((run / "not_finite.txt").read_text(encoding="utf-8").splitlines()) == 4  # of 12
    assert not list(run.glob("*.ckpt"))
    assert not (run / "best.safetensors").exists()


def test_weights_that_are_not_finite_are_never_the_best_nor_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step = Classification.validation_step

    def poisoned(module: Classification, batch: Batch, index: int) -> None:
        if not module.trainer.sanity_checking:
            with torch.no_grad():
                next(module.network.parameters()).view(-1)[0] = NAN
        step(module, batch, index)

    monkeypatch.setattr(Classification, "validation_step", poisoned)
    code, run = _fit(tmp_path, "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1")
    assert code == 1
    said = capfd.readouterr().err
    assert "the validation is not finite (loss nan): its weights are not kept as the best" in said
    assert "the weights are not finite any more (network.stem" in said
    assert not (run / "best.safetensors").exists()
    assert not list(run.glob("*.ckpt"))


class _Steps:
    """Steps of a training of one weight, with any loss and gradient."""

    def __init__(self, scaler: object = None, device: str = "cpu") -> None:
        self.guard = NotFinite()
        self.trainer: Any = SimpleNamespace(
            precision_plugin=SimpleNamespace(scaler=scaler),
            fit_loop=SimpleNamespace(_should_accumulate=lambda: False),
            current_epoch=0,
            global_step=0,
        )
        self._weight = nn.Parameter(torch.zeros(2, device=device))
        self._optimizer = torch.optim.SGD([self._weight], lr=0.1)

    def step(self, loss: float = 1.0, gradient: float = 1.0) -> bool:
        self._weight.grad = torch.tensor([gradient, 0.0], device=self._weight.device)
        self.trainer.global_step += 1
        self.guard.on_before_optimizer_step(self.trainer, None, self._optimizer)  # type: ignore[arg-type]
        batch = Batch(torch.zeros(2, 1, 1, 1), torch.zeros(2), ["a.png", "b\n.png"])
        outputs = {"loss": torch.tensor(loss, device=self._weight.device)}
        self.guard.on_train_batch_end(self.trainer, None, outputs, batch, 0)  # type: ignore[arg-type]
        return self.guard.found(self.trainer, wait=False)


def test_on_a_cpu_a_gradient_is_found_at_once_and_a_name_cannot_control_the_terminal() -> None:
    steps = _Steps()
    assert not steps.step()
    assert steps.step(gradient=math.inf)
    error, names = not_finite([None, steps.guard.finding()])
    assert error.message == r"the norm of the gradient is inf in epoch 1, step 2 (batch 1), with a.png, b\n.png"
    assert names == ["a.png", "b\n.png"]


def test_a_loss_is_told_before_the_gradients_that_it_spoiled_elsewhere() -> None:
    victim, culprit = _Steps(), _Steps()
    victim.step(gradient=NAN)
    culprit.step(loss=NAN, gradient=NAN)
    error, _ = not_finite([victim.guard.finding(), culprit.guard.finding()])
    assert error.message.startswith("the loss is nan")


def test_float16_may_leave_out_steps_but_not_for_ever() -> None:
    steps = _Steps(scaler=object())
    assert not any(steps.step(gradient=math.inf) for _ in range(SKIPPED))
    assert not steps.step()
    assert not any(steps.step(gradient=math.inf) for _ in range(SKIPPED))
    assert steps.step(gradient=math.inf)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_step_is_looked_at_when_the_next_is_on_its_way_unless_a_checkpoint_waits_for_it() -> None:
    steps = _Steps(device="cuda")
    assert not steps.step(loss=NAN)
    assert steps.step()
    assert "step 1 " in not_finite([steps.guard.finding()])[0].message
    steps = _Steps(device="cuda")
    steps.step(gradient=math.inf)
    assert steps.guard.found(steps.trainer, wait=True)
