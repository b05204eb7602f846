"""What is said when a training does not fit into the memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dat_cli.cli.main import main
from dat_cli.train.classification import Classification


def test_out_of_memory_says_what_this_training_could_still_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Classification, "training_step", too_large)
    options = ["--data.image_size", "32", "--data.batch_size", "16", "--trainer.accumulate_grad_batches", "2"]
    checkpointing = ["--model.grad_checkpointing", "true", "--trainer.precision", "32-true"]
    assert main(["fit", "--config", "tiny", *options, *checkpointing, "--output_dir", str(tmp_path)]) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("dat: error: out of memory in training; ")
    for way in ("--data.batch_size 8 with --trainer.accumulate_grad_batches 4", "bf16-mixed", "--data.image_size"):
        assert way in error
    assert "grad_checkpointing" not in error  # it is on already
