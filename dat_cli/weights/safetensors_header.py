"""The header of a safetensors file, read and checked without the library.

``safetensors.safe_open`` imports NumPy or torch even to look at names.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from dat_cli.weights.problems import existing_file, unreadable

_LONGEST = 100_000_000  # bytes, as in the library
_MOST_DIMENSIONS = 64  # as in NumPy; a product of millions of numbers would take hours
_SIZES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}


@dataclass(frozen=True)
class Header:
    """What a file says before its tensors.

    Attributes:
        metadata: Texts by their names, as whoever wrote the file wanted them.
        shapes: The shape of each tensor by its name.
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read the header, and see that it describes the bytes behind it: all of them, and none twice.

    Raises:
        WeightsError: The file is missing, truncated, or not safetensors.
    """
    existing_file(path)
    try:
        with path.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            start = opened.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, _LONGEST):
                raise ValueError("its header is longer than the file")
            return _checked(json.loads(opened.read(length)), size - 8 - length)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
            error = ValueError("its header is not JSON")
        raise unreadable(path, error) from error


def _checked(header: object, size: int) -> Header:
    if not isinstance(header, dict):
        raise ValueError("its header is not a dictionary")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts")
    tensors = {name: _tensor(entry) for name, entry in header.items()}
    end = 0
    for first, last, _ in sorted(tensors.values()):
        if first != end:
            raise ValueError("its tensors overlap, or leave a gap")
        end = last
    if end != size:
        raise ValueError(f"its tensors need {end} bytes, there are {size}")
    return Header(metadata, {name: shape for name, (_, _, shape) in tensors.items()})


def _tensor(entry: object) -> tuple[int, int, tuple[int, ...]]:
    """The first byte of a tensor, the byte after its last, and its shape."""
    if not isinstance(entry, dict) or str(entry.get("dtype")) not in _SIZES:
        raise ValueError("a tensor is of no known type")
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * _SIZES[entry["dtype"]]:
        raise ValueError("a tensor does not have the bytes that its shape needs")
    return offsets[0], offsets[1], shape


def _sizes(value: object) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _MOST_DIMENSIONS
        or not all(type(size) is int and 0 <= size < 2**63 for size in value)
    ):
        raise ValueError("a shape or an offset is not made of whole numbers")
    return tuple(value)
