"""The header of a safetensors file: what is read equals what the library reads, and lies are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dat_cli.errors import WeightsError
from dat_cli.weights.safetensors_header import read_header

GOOD: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def _write(path: Path, header: object, data: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
def test_it_reads_what_the_library_writes(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.zeros(2, 3, dtype=dtype), "none": torch.zeros(0, 4, dtype=dtype), "b": torch.ones(())}
    save_file(tensors, path, {"said": "yes"})
    header = read_header(path)
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert header.metadata == {"said": "yes"}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ([GOOD], bytes(8)),
        ({"a": []}, bytes(8)),
        ({"a": {**GOOD, "dtype": "F31"}}, bytes(8)),
        ({"a": {**GOOD, "dtype": ["F32"]}}, bytes(8)),
        ({"a": {**GOOD, "shape": [3]}}, bytes(8)),
        ({"a": {**GOOD, "shape": [2**62] * 1_000_000}}, bytes(8)),
        ({"a": {**GOOD, "shape": [-2]}}, bytes(8)),
        ({"a": {**GOOD, "shape": [2.0]}}, bytes(8)),
        ({"a": {**GOOD, "shape": [2**40, 2**40, 0, "x"]}}, bytes(8)),
        ({"a": {**GOOD, "data_offsets": [0]}}, bytes(8)),
        ({"a": {**GOOD, "data_offsets": [8, 16]}}, bytes(16)),
        ({"a": GOOD, "b": GOOD}, bytes(8)),
        ({"a": GOOD}, bytes(9)),
        ({"a": GOOD}, bytes(7)),
        ({"a": GOOD, "__metadata__": {"n": 1}}, bytes(8)),
        ({"a": GOOD, "__metadata__": []}, bytes(8)),
        (b"[" * 100_000, b""),
        (b'{"a', b""),
        (b"\xff\xfe", b""),
    ],
)
def test_what_the_library_refuses_is_refused(tmp_path: Path, header: object, data: bytes) -> None:
    path = _write(tmp_path / "weights.safetensors", header, data)
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass
    with pytest.raises(WeightsError, match="damaged or not safetensors"):
        read_header(path)


def test_a_header_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\xff" * 8 + b"{}")
    with pytest.raises(WeightsError, match="longer than the file"):
        read_header(path)
