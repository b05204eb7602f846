"""The one place that opens a pickle: code in it is refused, never run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from dat_cli.errors import WeightsError
from dat_cli.weights.problems import existing_file, unreadable

# What a truncated or hostile pickle raises under weights_only, besides UnpicklingError.
_UNPICKLING = (
    pickle.UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def open_checkpoint(path: Path | str) -> dict[str, Any]:
    """The dictionary in a checkpoint; code in it is refused, never run. Tensors come to the CPU.

    Raises:
        WeightsError: The file is missing, damaged, not a checkpoint, or holds more than tensors and plain values.
    """
    import torch

    path = existing_file(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING as error:
        raise unreadable(path, error) from error
    if not isinstance(checkpoint, dict) or not all(isinstance(name, str) for name in checkpoint):
        raise WeightsError(f"{path} is not a checkpoint: it holds no dictionary")
    return checkpoint
