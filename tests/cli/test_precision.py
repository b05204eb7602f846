"""Options that save memory or time: the same loss within rounding, and the same files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from dat_cli.cli.main import main
from dat_cli.models.dat import DAT
from dat_cli.weights import read_tensors

FIT = [
    *("fit", "--config", "tiny", "--data.image_size", "32", "--data.batch_size", "8", "--trainer.accelerator", "cpu"),
    *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in full precision without any of the options."""
    return _run(tmp_path_factory.mktemp("plain"))


def _run(parent: Path, *options: str) -> Path:
    assert main([*FIT, "--output_dir", str(parent), "--name", "run", *options]) == 0
    return parent / "run" / "version_0"


def _losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    return [float(row["train_loss"]), float(row["val_loss"])]


@pytest.mark.parametrize(
    ("options", "rounding"),
    [
        (["--model.grad_checkpointing", "true"], 1e-5),
        (["--model.channels_last", "true"], 1e-4),
        (["--trainer.precision", "bf16-mixed"], 2e-2),
        (["--trainer.precision", "bf16-mixed", "--model.grad_checkpointing", "true"], 2e-2),
        (["--trainer.precision", "bf16-true"], 5e-2),
        (["--trainer.precision", "bf16-true", "--model.channels_last", "true", "--ema_decay", "0.5"], None),
    ],
    ids=str,
)
def test_an_option_changes_the_loss_by_rounding_and_the_files_not_at_all(
    options: list[str], rounding: float | None, plain: Path, tmp_path: Path
) -> None:
    run = _run(tmp_path, *options)
    if rounding is not None:
        assert _losses(run) == pytest.approx(_losses(plain), rel=rounding)
    for name in ("best.safetensors", "last.ckpt"):
        ours, theirs = read_tensors(run / name), read_tensors(plain / name)
        assert {name: tensor.shape for name, tensor in ours.items()} == {
            name: tensor.shape for name, tensor in theirs.items()
        }
        # The average of bfloat16 weights is one of float32: in bfloat16 its small changes would be lost.
        half = "bf16-true" in options and "--ema_decay" not in options
        assert {tensor.dtype for tensor in ours.values()} == {torch.bfloat16 if half else torch.float32}
    assert main(["validate", "--weights", str(run), "--trainer.limit_val_batches", "1"]) == 0


def test_a_compiled_network_learns_the_same_and_keeps_the_names_of_its_tensors(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traces the network as torch.compile does, but runs the graph as it is: making C++ of it takes minutes.
    compiled = []

    def trace(network: DAT) -> None:
        compiled.append(network)
        nn.Module.compile(network, backend="eager")

    monkeypatch.setattr(DAT, "compile", trace)
    run = _run(tmp_path, "--model.compile", "true")
    assert _losses(run) == pytest.approx(_losses(plain), rel=1e-4)
    assert len(compiled) == 1
    assert list(read_tensors(run / "best.safetensors")) == list(read_tensors(plain / "best.safetensors"))
