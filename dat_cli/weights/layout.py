"""The layout of a Hub repository as a folder: config.json, safetensors, a card; never a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dat_cli.errors import WeightsError
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.files import write_weights
from dat_cli.weights.hub_config import config_json, from_config_json
from dat_cli.weights.problems import existing_file, some

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

CONFIG = "config.json"
CARD = "README.md"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD = "5GB"
"""Of one file; what is larger is divided, as the Hub asks for."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors", re.ASCII)
_MAX_JSON = 20_000_000
"""Bytes; 100,000 class names of 100 characters stay below."""


def is_layout(folder: Path) -> bool:
    """Whether a folder has what every repository of weights has."""
    return (folder / CONFIG).is_file()


def is_weights_file(name: str) -> bool:
    """Whether a file of that name in a repository belongs to its weights; nothing in a subfolder does."""
    return name in (WEIGHTS, INDEX) or _SHARD.fullmatch(name) is not None


def write_layout(
    folder: Path, tensors: Mapping[str, Tensor], config: WeightsConfig, *, max_shard_size: int | str = MAX_SHARD
) -> list[Path]:
    """Write weights and config.json into an existing folder; the same weights give the same bytes.

    Args:
        folder: An empty folder.
        tensors: Tensors by the network's own names.
        config: What they say about themselves.
        max_shard_size: Of one file, in bytes or as ``5GB``.

    Returns:
        The files that were written.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    plan = split_torch_state_dict_into_shards(
        dict(tensors), filename_pattern="model{suffix}.safetensors", max_shard_size=max_shard_size
    )
    written = []
    for name, held in plan.filename_to_tensors.items():
        write_weights(folder / name, {tensor: tensors[tensor] for tensor in held}, config)
        written.append(folder / name)
    if plan.is_sharded:
        written.append(_write_json(folder / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}))
    written.append(_write_json(folder / CONFIG, config_json(config)))
    return written


def read_layout_config(folder: Path) -> WeightsConfig:
    """What the config.json of a folder says, checked.

    Raises:
        WeightsError: It is missing, damaged, or says something that cannot be.
    """
    path = folder / CONFIG
    return from_config_json(_read_json(path), source=str(path))


def weights_files(folder: Path) -> list[Path]:
    """The safetensors files that together hold the tensors of a folder.

    Raises:
        WeightsError: One is missing, or the index names a file outside of the layout.
    """
    if not (folder / INDEX).is_file() or (folder / WEIGHTS).is_file():
        return [existing_file(folder / WEIGHTS)]
    return [existing_file(folder / name) for name in shard_names(folder / INDEX)]


def joined(folder: Path, read: Callable[[Path], Mapping[str, T]]) -> dict[str, T]:
    """What ``read`` finds in each of the files of a folder, together.

    Raises:
        WeightsError: A file is missing, or two hold a tensor of the same name.
    """
    whole: dict[str, T] = {}
    for file in weights_files(folder):
        found = read(file)
        if twice := [name for name in found if name in whole]:
            raise WeightsError(f"{file} holds tensors that another file holds too ({some(twice)})")
        whole |= found
    return whole


def shard_names(index: Path) -> list[str]:
    """Names of the files that an index names, each once.

    Raises:
        WeightsError: It is missing, damaged, names none, or one outside of the layout.
    """
    data = _read_json(index)
    names = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(names, dict) or not names:
        raise WeightsError(f"{index} does not say which file holds which tensor")
    files = sorted({str(name) for name in names.values()})
    if strangers := [name for name in files if not _SHARD.fullmatch(name)]:
        raise WeightsError(f"{index} names files that cannot be: {some(strangers)}")
    return files


def _write_json(path: Path, data: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _read_json(path: Path) -> object:
    existing_file(path)
    if path.stat().st_size > _MAX_JSON:
        raise WeightsError(f"{path} has {path.stat().st_size} bytes; it should be a short text")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is damaged: not JSON") from None
