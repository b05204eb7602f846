"""Weights that were never trained, for what does not depend on how good they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dat_cli.catalog import Preprocessing
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

CLASSES = tuple(f"class {index}" for index in range(7))
PREPROCESSING = Preprocessing(input_size=(3, 32, 48), crop_mode="center", crop_pct=0.9)
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with ``best.safetensors`` of a DAT-Tiny with seven classes."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = create_model("dat_tiny", num_classes=len(CLASSES), img_size=32)
    config = WeightsConfig("dat_tiny", CLASSES, PREPROCESSING, model_args={"img_size": 32})
    write_weights(folder / "best.safetensors", network.state_dict(), config)
    return folder


@pytest.fixture(scope="session")
def authors_tensors(fill: Any) -> dict[str, Tensor]:
    """Those of a golden DAT-Tiny at 224 pixels, by the authors' names, in single precision, buffers included."""
    meta = json.loads(str(np.load(GOLDEN / "dat_tiny_224.npz")["meta"]))
    tensors = {
        name: torch.from_numpy(fill.parameter(name, tuple(shape))).float() for name, shape in meta["parameters"].items()
    }
    return tensors | {name: torch.zeros(shape) for name, shape in meta["buffers"].items()}


@pytest.fixture(scope="session")
def authors_file(authors_tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a .pth as the authors publish them."""
    path = tmp_path_factory.mktemp("authors") / "dat_tiny_in1k_224.pth"
    torch.save({"model": authors_tensors, "max_accuracy": 82.04, "epoch": 299, "optimizer": {"state": {}}}, path)
    return path
