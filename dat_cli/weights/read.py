"""Read weights, whichever form they have: a safetensors file, a checkpoint of Lightning, a folder in Hub layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dat_cli.errors import WeightsError
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.files import METADATA_KEY, read_file_config, read_file_tensors
from dat_cli.weights.layout import is_layout, joined, read_layout_config
from dat_cli.weights.pickles import open_checkpoint
from dat_cli.weights.problems import some

if TYPE_CHECKING:
    from torch import Tensor

_NETWORK_PREFIX = "network."


def read_config(path: Path | str) -> WeightsConfig:
    """What weights say about themselves; of safetensors without importing torch.

    Args:
        path: A ``.safetensors`` or ``.ckpt`` file, or a folder with a config.json.

    Raises:
        WeightsError: It is missing, damaged, no weights, or says something that cannot be.
    """
    path = Path(path)
    if is_layout(path):
        return read_layout_config(path)
    if path.suffix.lower() != ".ckpt":
        return read_file_config(path)
    checkpoint = open_checkpoint(path)
    if METADATA_KEY not in checkpoint:
        raise WeightsError(f"{path} was not written by dat: it does not say which network it is")
    return WeightsConfig.from_dict(checkpoint[METADATA_KEY], source=str(path))


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The network's tensors by its own names, on the CPU.

    Args:
        path: What ``read_config`` takes.

    Raises:
        WeightsError: It is missing, damaged or holds no network.
    """
    path = Path(path)
    if is_layout(path):
        return joined(path, read_file_tensors)
    if path.suffix.lower() == ".ckpt":
        return _network_of(open_checkpoint(path), path)
    return read_file_tensors(path)


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
            raise WeightsError(f"{path}: {some([name])} is not an ordinary tensor")
    if not tensors:
        raise WeightsError(f"{path} holds no tensors of a network (none is named {_NETWORK_PREFIX}*)")
    return tensors
