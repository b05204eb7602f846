"""From what a person calls weights to a network that is ready to use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dat_cli.errors import WeightsError
from dat_cli.models import DAT, create_model
from dat_cli.weights import WeightsConfig, load_tensors, read_config, read_tensors

BEST = "best.safetensors"
WHAT_TO_GIVE = "give the folder of a run, a .safetensors or a .ckpt file"


@dataclass(frozen=True)
class Weights:
    """A weights file that exists and says what it is.

    Attributes:
        path: The file itself, ``.safetensors`` or ``.ckpt``.
        config: What it says about itself.
    """

    path: Path
    config: WeightsConfig


def find_weights(reference: str) -> Weights:
    """Find the weights file that ``reference`` means, without reading its tensors.

    Args:
        reference: The folder of a run (its ``best.safetensors``, or that of its newest ``version_N`` which has one),
            a ``.safetensors`` or a ``.ckpt`` file.

    Raises:
        WeightsError: There is no such file, or it is not a weights file; says what can be given.
    """
    if not str(reference).strip():
        raise WeightsError("the name of the weights is empty", hint=WHAT_TO_GIVE)
    path = Path(reference).expanduser()
    if path.is_dir():
        path = _best_of(path)
    elif not path.exists():
        raise WeightsError(f"there are no weights {str(reference)!r}", hint=WHAT_TO_GIVE)
    elif path.suffix.lower() not in (".safetensors", ".ckpt"):
        raise WeightsError(f"{path} is neither a .safetensors nor a .ckpt file", hint=WHAT_TO_GIVE)
    return Weights(path, read_config(path))


def load_model(reference: str | Path | Weights) -> tuple[DAT, WeightsConfig]:
    """Build the network of a weights file and load its tensors, all of them.

    Args:
        reference: What ``find_weights`` takes, or what it found.

    Returns:
        The network on the CPU in evaluation mode, and what its weights say about themselves.

    Raises:
        WeightsError: The file cannot be read or its tensors do not fit the network that it names.
    """
    weights = reference if isinstance(reference, Weights) else find_weights(str(reference))
    config = weights.config
    arguments: dict[str, Any] = {**config.model_args, "num_classes": len(config.classes)}
    network = create_model(config.architecture, **arguments)
    load_tensors(network, read_tensors(weights.path), source=str(weights.path))
    return network.eval(), config


def _best_of(folder: Path) -> Path:
    if (folder / BEST).exists():
        return folder / BEST
    versions = sorted(folder.glob("version_*"), key=_number, reverse=True)
    for version in versions:
        if (version / BEST).is_file():
            return version / BEST
    for run in (folder, *versions):
        if (run / "last.ckpt").is_file():
            raise WeightsError(f"{folder} has no {BEST} yet", hint=f"give {run / 'last.ckpt'} itself")
    raise WeightsError(f"{folder} is not the folder of a run: it has no {BEST}", hint=WHAT_TO_GIVE)


def _number(version: Path) -> int:
    found = re.fullmatch(r"version_(\d+)", version.name)
    return int(found[1]) if found else -1
