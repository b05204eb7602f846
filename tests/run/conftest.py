"""Weights that were never trained, for what does not depend on how good they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dat_cli.catalog import Preprocessing
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

CLASSES = tuple(f"class {index}" for index in range(7))
PREPROCESSING = Preprocessing(input_size=(3, 32, 48), crop_mode="center", crop_pct=0.9)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with ``best.safetensors`` of a DAT-Tiny with seven classes."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = create_model("dat_tiny", num_classes=len(CLASSES), img_size=32)
    config = WeightsConfig("dat_tiny", CLASSES, PREPROCESSING, model_args={"img_size": 32})
    write_weights(folder / "best.safetensors", network.state_dict(), config)
    return folder
