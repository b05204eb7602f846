"""Weights files: safetensors with their configuration inside.

Reading the configuration of a safetensors file does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dat_cli.errors import WeightsError
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.problems import existing_file, unreadable
from dat_cli.whole import remove_abandoned, whole_file

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "dat"
_UNREADABLE = (OSError, OverflowError, RuntimeError, TypeError, ValueError)  # of shapes that no machine can hold


def write_weights(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    config: WeightsConfig,
    *,
    others: Mapping[str, str] | None = None,
) -> None:
    """Write a self-contained weights file; an older one stays whole until the new one is on the disk.

    Args:
        path: File to write, ending in ``.safetensors``.
        tensors: Tensors by the network's own names, on any device.
        config: What the file says about itself.
        others: Entries for programs other than ours, such as the metadata of a file that is rewritten. Several entries
            have no order of their own: without any, equal weights are equal bytes.

    Raises:
        DatError: The disk is full or the folder cannot be written to.
        OSError: The same, where the system itself says so.
    """
    from safetensors.torch import save_file

    metadata = {**(others or {}), METADATA_KEY: json.dumps(config.to_dict())}
    remove_abandoned(Path(path))
    with whole_file(Path(path)) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def read_file_config(path: Path) -> WeightsConfig:
    """What a ``.safetensors`` file says about itself.

    Raises:
        WeightsError: The file is missing, damaged, not a weights file, or says something that cannot be.
    """
    metadata = read_header(path).metadata
    if METADATA_KEY not in metadata:
        raise WeightsError(f"{path} was not written by dat: its metadata does not say which network it is")
    try:
        plain = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError):
        raise WeightsError(f"{path}: its metadata is damaged: not JSON") from None
    return WeightsConfig.from_dict(plain, source=str(path))


class Header(NamedTuple):
    """What a file says before its tensors: texts of its writer, and the shape of each tensor by its name."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


def read_header(path: Path) -> Header:
    """Read the header of a ``.safetensors`` file alone; torch is not imported.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    existing_file(path)
    try:
        with safe_open(path, framework="np") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no dictionary
            return Header(opened.metadata() or {}, shapes)
    except (SafetensorError, *_UNREADABLE) as error:
        raise unreadable(path, error) from error


def read_file_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, on the CPU.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    existing_file(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, *_UNREADABLE) as error:
        raise unreadable(path, error) from error
