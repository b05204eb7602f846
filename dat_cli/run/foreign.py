"""Weights files of strangers: the authors' checkpoints, their tensors as safetensors, checkpoints of Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dat_cli.catalog import get_variant
from dat_cli.errors import UsageError, WeightsError
from dat_cli.models.convert import from_authors
from dat_cli.models.recognise import Recognised, recognise
from dat_cli.run.source import Source, checked
from dat_cli.weights import WeightsConfig, open_checkpoint, read_config, read_tensors
from dat_cli.weights.files import METADATA_KEY, read_file_tensors, read_header
from dat_cli.weights.header import sha256_of
from dat_cli.weights.problems import some

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
_WRAPPED = "module."
"""What DistributedDataParallel puts before every name."""


def read_foreign(path: Path, arch: str | None = None) -> Source:
    """Read a file that may be of strangers, or ours.

    Args:
        path: A ``.safetensors``, or a checkpoint: a dictionary of tensors, or with one as ``model`` or ``state_dict``.
        arch: The variant that it is of; None to recognise it by names and shapes.

    Raises:
        ModelError: There is no variant ``arch``.
        UsageError: The file says that it is of another.
        WeightsError: It is missing, damaged, would run code, or holds other tensors than a variant has; lists which.
    """
    if path.suffix.lower() in PICKLES:
        checkpoint = open_checkpoint(path)
        if METADATA_KEY in checkpoint:
            return own(path, WeightsConfig.from_dict(checkpoint[METADATA_KEY], source=str(path)), arch)
        return _authors(path, _network_in(checkpoint, path), arch, metrics=_metrics(checkpoint))
    if METADATA_KEY in read_header(path).metadata:
        return own(path, read_config(path), arch)
    return _authors(path, read_file_tensors(path), arch)


def own(path: Path, config: WeightsConfig, arch: str | None = None, *, name: str | None = None) -> Source:
    """Read weights of ours, which say what they are.

    Args:
        path: A file, or a folder in the layout of a Hub repository.
        config: What they say about themselves.
        arch: The variant that a person says they are of.
        name: What to call them, if not by their path.

    Raises:
        UsageError: They say that they are of another variant.
        WeightsError: Their tensors are not those of the network that they say they are of; lists which.
    """
    if arch is not None and arch != config.architecture:
        raise UsageError(f"--arch is {arch}, but {path} says that it is {config.architecture}", hint="leave out --arch")
    variant, arguments = get_variant(config.architecture), config.model_args
    network = Recognised(
        variant,
        img_size=int(arguments.get("img_size", variant.image_size)),
        window=int(arguments.get("window", variant.window)),
        num_classes=len(config.classes),
        in_chans=config.preprocessing.input_size[0],
    )
    return checked(Source(name or str(path), read_tensors(path), network, config))


def _authors(path: Path, theirs: dict[str, Tensor], arch: str | None, **known: Any) -> Source:
    try:
        network = recognise(theirs, arch)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.message}", hint=error.hint) from None
    # Copies, because a checkpoint may hold one memory under two names, which no safetensors file can. Shapes are known
    # to be right by now: before, a tensor could have claimed to be larger than the memory.
    ours = {name: tensor.detach().clone() for name, tensor in from_authors(theirs, network.variant).items()}
    return checked(Source(str(path), ours, network, None, path.name, sha256_of(path), **known))


def _network_in(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of the network, wherever they are in the checkpoint."""
    inner = next((checkpoint[key] for key in ("model", "state_dict") if isinstance(checkpoint.get(key), dict)), None)
    entries = checkpoint if inner is None else inner
    if not any(isinstance(value, Tensor) for value in entries.values()):
        raise WeightsError(f"{path} holds no tensors of a network, neither itself nor as 'model' or 'state_dict'")
    tensors = {}
    for name, value in entries.items():
        ordinary = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized
        if not isinstance(name, str) or not ordinary or value.is_meta:
            raise WeightsError(f"{path}: {some([str(name)])} is not an ordinary tensor")
        tensors[name.removeprefix(_WRAPPED)] = value
    return tensors


def _metrics(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """The best accuracy on ImageNet's validation images, which the authors' training notes in percent."""
    best = checkpoint.get("max_accuracy")
    if isinstance(best, Tensor) and best.numel() == 1 and not best.is_meta:
        best = best.item()
    if isinstance(best, int | float) and not isinstance(best, bool) and 0 < best <= 100:  # which no NaN is
        return {"val_acc1": best / 100}
    return {}
