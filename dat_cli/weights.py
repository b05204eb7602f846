"""Weights files: safetensors with their configuration inside, and the one place that opens a pickle.

Reading the configuration of a safetensors file does not import torch.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dat_cli.errors import DatError, WeightsError
from dat_cli.weights_config import WeightsConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "WeightsConfig",
    "load_tensors",
    "open_checkpoint",
    "read_config",
    "read_tensors",
    "write_weights",
]

_METADATA_KEY = "dat"
_NETWORK_PREFIX = "network."
_LISTED = 3
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


def write_weights(path: Path | str, tensors: Mapping[str, Tensor], config: WeightsConfig) -> None:
    """Write a self-contained weights file; an older one stays whole until the new one is on the disk.

    Args:
        path: File to write, ending in ``.safetensors``.
        tensors: Tensors by the network's own names, on any device.
        config: What the file says about itself.

    Raises:
        DatError: The disk is full or the folder cannot be written to.
        OSError: The same, where the system itself says so.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    metadata = {"format": "pt", _METADATA_KEY: json.dumps(config.to_dict())}
    try:
        with temporary.open("wb") as created:
            mode = os.fstat(created.fileno()).st_mode & 0o777  # as the umask wants it; safetensors writes 0600
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except SafetensorError as error:
        raise DatError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_config(path: Path | str) -> WeightsConfig:
    """What a ``.safetensors`` or ``.ckpt`` file says about itself.

    Raises:
        WeightsError: The file is missing, damaged, not a weights file, or says something that cannot be.
    """
    path = _file(path)
    if path.suffix.lower() == ".ckpt":
        checkpoint = open_checkpoint(path)
        if _METADATA_KEY not in checkpoint:
            raise WeightsError(f"{path} was not written by dat: it does not say which network it is")
        return WeightsConfig.from_dict(checkpoint[_METADATA_KEY], source=str(path))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as opened:  # imports neither NumPy nor torch to read the header
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if _METADATA_KEY not in metadata:
        raise WeightsError(f"{path} was not written by dat: its metadata does not say which network it is")
    try:
        plain = json.loads(metadata[_METADATA_KEY])
    except (ValueError, RecursionError):
        raise WeightsError(f"{path}: its metadata is damaged: not JSON") from None
    return WeightsConfig.from_dict(plain, source=str(path))


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The network's tensors by its own names, on the CPU.

    Raises:
        WeightsError: The file is missing, damaged or holds no network.
    """
    path = _file(path)
    if path.suffix.lower() == ".ckpt":
        return _network_of(open_checkpoint(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def open_checkpoint(path: Path | str) -> dict[str, Any]:
    """The dictionary in a checkpoint; code in it is refused, never run. Tensors come to the CPU.

    Raises:
        WeightsError: The file is missing, damaged, not a checkpoint, or holds more than tensors and plain values.
    """
    import torch

    path = _file(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING as error:
        raise _unreadable(path, error) from error
    if not isinstance(checkpoint, dict) or not all(isinstance(name, str) for name in checkpoint):
        raise WeightsError(f"{path} is not a checkpoint: it holds no dictionary")
    return checkpoint


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy all tensors into the network; all names and shapes must fit and all values be finite.

    A NaN or an infinity is refused because the file loads silently without it, and every answer is then wrong:
    safetensors has no checksum, so that one flipped bit arrives here.

    Args:
        network: What the tensors are for.
        tensors: Tensors by the network's own names.
        source: The file they come from, for errors.

    Raises:
        WeightsError: They do not fit; names a few and counts the rest.
    """
    import torch

    own = network.state_dict()
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    whole = [
        name
        for name in own
        if name in tensors and own[name].is_floating_point() and not tensors[name].is_floating_point()
    ]
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": misshapen,
        "of whole numbers": whole,
        "not finite": broken,
    }
    found = [f"{len(names)} {problem} ({_some(names)})" for problem, names in problems.items() if names]
    if found:
        raise WeightsError(f"{source} does not fit the network, tensors are {', '.join(found)}")
    with torch.no_grad():
        network.load_state_dict(dict(tensors), strict=True)


def _file(path: Path | str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, not a weights file")
    if not path.is_file():
        raise WeightsError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
    return path


def _network_of(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    import torch

    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} holds no state_dict")
    tensors = {
        name.removeprefix(_NETWORK_PREFIX): tensor
        for name, tensor in state.items()
        if isinstance(name, str) and name.startswith(_NETWORK_PREFIX)
    }
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
            raise WeightsError(f"{path}: {_some([name])} is not an ordinary tensor")
    if not tensors:
        raise WeightsError(f"{path} holds no tensors of a network (none is named {_NETWORK_PREFIX}*)")
    return tensors


def _unreadable(path: Path, error: Exception) -> WeightsError:
    """One line that says what the file is instead, as far as its first bytes tell."""
    if isinstance(error, PermissionError):
        return WeightsError(f"{path} may not be read: permission denied")
    try:
        with path.open("rb") as opened:
            start = opened.read(16)
    except OSError as failed:
        return WeightsError(f"{path} cannot be read: {failed.strerror}")
    if not start:
        return WeightsError(f"{path} is empty")
    if start.lstrip().startswith(b"<"):
        return WeightsError(f"{path} is a web page, not a weights file", hint="download it again")
    pickled = start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    if path.suffix.lower() != ".ckpt":
        if pickled:
            return WeightsError(f"{path} is a pickle, not safetensors", hint="give the .ckpt of a run of dat")
        return WeightsError(f"{path} is damaged or not safetensors ({_first_line(error)})")
    if pickled and "weights only" in str(error).lower():
        return WeightsError(f"{path} holds more than tensors and plain values, which could run code on loading")
    return WeightsError(f"{path} is damaged or not a checkpoint")


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line[:120]


def _some(names: list[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1][:100] for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, and {len(names) - _LISTED} more"


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
