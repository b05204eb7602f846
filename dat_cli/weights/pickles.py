"""The one place that opens a pickle: code in it is refused, never run."""

from __future__ import annotations

import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from dat_cli.errors import WeightsError
from dat_cli.weights.archive import check_archive, is_archive, is_program
from dat_cli.weights.calls import check_calls
from dat_cli.weights.opcodes import named_globals
from dat_cli.weights.problems import existing_file, some, unreadable_checkpoint


def open_checkpoint(path: Path | str) -> dict[str, Any]:
    """The dictionary in a checkpoint; code in it is refused, never run. Tensors come to the CPU.

    Besides tensors and plain values it may hold what the authors' files do: the configuration object of yacs, which
    becomes a dictionary, and NumPy scalars, which become numbers.

    Raises:
        WeightsError: The file is missing, damaged, not a checkpoint, or holds more than that; names what it holds.
    """
    path = existing_file(path)
    try:
        with path.open("rb") as opened:
            _check(path, opened)
            checkpoint = _load(opened)
    except WeightsError:
        raise
    except _NotANumberError as error:
        raise WeightsError(f"{path} holds a NumPy value of type {error}, which is no plain number") from None
    except Exception as error:  # which one, the stranger chooses who wrote the file
        raise unreadable_checkpoint(path, error) from error
    if not isinstance(checkpoint, dict) or not all(isinstance(name, str) for name in dict.keys(checkpoint)):
        raise WeightsError(f"{path} is not a checkpoint: it holds no dictionary")
    _remove_attributes(checkpoint)
    return checkpoint


def _check(path: Path, opened: IO[bytes]) -> None:
    """Read the file without following what it says; refuse all that weights do not need, although torch allows some."""
    if is_archive(opened):
        if is_program(opened):
            raise WeightsError(f"{path} is a TorchScript program, not a checkpoint of tensors")
        check_archive(opened)
    others: dict[str, None] = {}
    try:
        for name in named_globals(opened):
            if name not in _TORCH and name not in _OURS:
                others[name] = None
    except Exception:  # of a damaged file, what stands before the damage
        if not others:
            raise
    if others:
        refused = some(list(others))
        raise WeightsError(f"{path} asks for {refused}, which weights do not need and could run code; nothing was run")
    check_calls(opened)


def _load(opened: IO[bytes]) -> object:
    import torch

    opened.seek(0)
    ours: list[Any] = [(stands, name) for name, stands in _OURS.items()]
    # The open file, because of a path torch asks the suffix. Warnings are of formats, which errors tell better.
    with torch.serialization.safe_globals(ours), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(opened, map_location="cpu", weights_only=True)


def _remove_attributes(checkpoint: object) -> None:
    """Leave only entries in all dictionaries: an attribute from the file could stand in for get() or items()."""
    left, seen = [checkpoint], set()
    while left:
        value = left.pop()
        if id(value) in seen or not isinstance(value, dict | list | tuple):
            continue
        seen.add(id(value))
        if isinstance(value, OrderedDict):
            vars(value).clear()
        left.extend(dict.values(value) if isinstance(value, dict) else value)


class _NotANumberError(Exception):
    """A NumPy type of something else than one number that Python has too."""


class _NumpyType:
    """Stands for numpy.dtype of a number, so that no code of NumPy sees what a stranger wrote."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:  # noqa: ARG002 - NumPy's signature
        if isinstance(name, str) and name not in _NUMBERS:
            raise _NotANumberError(f"{_OTHERS.get(name[:1], 'unknown')} ({ascii(name)[1:-1][:20]})")
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

# What else there is, by the first letter.
_OTHERS = {
    "O": "object", "U": "str_", "S": "bytes_", "V": "void", "f": "longdouble", "c": "complex", "M": "datetime64",
    "m": "timedelta64",
}  # fmt: skip

_TORCH = {
    "collections.OrderedDict",
    "builtins.set",  # in the configuration object of yacs
    "_codecs.encode",  # the bytes of a NumPy scalar
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    *(f"torch.{kind}Storage" for kind in ("Bool", "Byte", "Char", "Short", "Int", "Long")),
    *(f"torch.{kind}Storage" for kind in ("Half", "BFloat16", "Float", "Double")),
    *(f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64")),
}
"""What is allowed of all that torch would allow."""
_OURS: dict[str, Callable[..., Any]] = {
    "yacs.config.CfgNode": OrderedDict,
    "numpy.dtype": _NumpyType,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
"""What stands for a global that torch does not know: by name, so that neither yacs nor NumPy is imported."""
