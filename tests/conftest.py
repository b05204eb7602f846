"""What several tests share: one real training, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dat_cli.cli.main import main

SMALL = ["--config", "tiny", "--data.image_size", "32", "--data.batch_size", "8"]
FEW_BATCHES = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two short epochs of DAT-Tiny on the digits at 32 pixels."""
    runs = tmp_path_factory.mktemp("runs")
    command = ["fit", *SMALL, *FEW_BATCHES, "--trainer.max_epochs", "2", "--output_dir", str(runs), "--name", "small"]
    assert main(command) == 0
    return runs / "small" / "version_0"
