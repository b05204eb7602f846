"""From what a person calls weights to a network that is ready to use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dat_cli.models import DAT, create_model
from dat_cli.run.resolve import Weights, find_weights
from dat_cli.weights import WeightsConfig, load_tensors, read_tensors


def load_model(reference: str | Path | Weights, *, owner: str | None = None) -> tuple[DAT, WeightsConfig]:
    """Build the network of weights and load its tensors, all of them.

    Args:
        reference: What ``find_weights`` takes, or what it found.
        owner: Whose weights a variant's name means.

    Returns:
        The network on the CPU in evaluation mode, and what its weights say about themselves. The network gives plain
        logits: where ``config.temperature`` is not None, divide them by it before softmax, as ``dat predict`` does.

    Raises:
        WeightsError: The weights cannot be read or their tensors do not fit the network that they name.
        HubError: They are nowhere to be had.
    """
    weights = reference if isinstance(reference, Weights) else find_weights(str(reference), owner=owner)
    config = weights.config
    arguments: dict[str, Any] = {**config.model_args, "num_classes": len(config.classes)}
    network = create_model(config.architecture, **arguments)
    load_tensors(network, read_tensors(weights.path), source=weights.name)
    network.pretrained_cfg = network.default_cfg = {
        **network.default_cfg,
        **asdict(config.preprocessing),
        "num_classes": len(config.classes),
        "label_names": config.classes,
        "temperature": config.temperature,
    }
    return network.eval(), config
