"""The one place that opens a pickle: code in it is refused, never run."""

from __future__ import annotations

import struct
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

from dat_cli.errors import WeightsError
from dat_cli.weights.problems import existing_file, unreadable_checkpoint


def open_checkpoint(path: Path | str) -> dict[str, Any]:
    """The dictionary in a checkpoint; code in it is refused, never run. Tensors come to the CPU.

    Besides tensors and plain values it may hold what the authors' files do: the configuration object of yacs, which
    becomes a dictionary, and NumPy scalars, which become numbers.

    Raises:
        WeightsError: The file is missing, damaged, not a checkpoint, or holds more than that; names what it holds.
    """
    import torch

    path = existing_file(path)
    try:
        # By its open file, because of a path torch asks the suffix. Warnings are of formats, which errors tell better.
        with path.open("rb") as opened, torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # which one, the stranger chooses who wrote the file
        raise unreadable_checkpoint(path, error) from error
    if not isinstance(checkpoint, dict) or not all(isinstance(name, str) for name in checkpoint):
        raise WeightsError(f"{path} is not a checkpoint: it holds no dictionary")
    return checkpoint


class _NumpyType:
    """Stands for numpy.dtype of a number, so that no code of NumPy sees what a stranger wrote."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:  # noqa: ARG002 - NumPy's signature
        self.code = _NUMBERS[name]
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _ORDERS[state[1]]


def _numpy_scalar(kind: _NumpyType, data: bytes) -> float | int | bool:
    """A NumPy scalar as the number that it is."""
    (value,) = struct.unpack(kind.order + kind.code, data)
    return value


# By NumPy's name of a number and of its byte order, those of struct.
_NUMBERS = {
    "b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
_ORDERS = {"<": "<", ">": ">", "|": "<", "=": "="}

# torch looks a global up by this name alone; neither yacs nor NumPy is imported.
_ALLOWED: list[Any] = [
    (OrderedDict, "yacs.config.CfgNode"),
    (_NumpyType, "numpy.dtype"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
]
