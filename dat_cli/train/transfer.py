"""Starting from weights that were trained before, possibly on other classes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from dat_cli.train.classification import Classification
from dat_cli.weights import WeightsConfig, load_tensors, read_tensors


def start_from(module: Classification, path: Path, config: WeightsConfig, *, name: str) -> str:
    """Load weights into a module that is about to be trained.

    The head is kept only when the classes are the same in the same order: an output that meant another class
    would be worse than none.

    Args:
        module: What will be trained, of the same architecture as the weights.
        path: What ``weights.read_tensors`` takes.
        config: What the weights say about themselves.
        name: What a person calls them.

    Returns:
        One line that says what was kept and what starts from nothing.

    Raises:
        WeightsError: Tensors of the backbone are missing, left over or of another shape; lists them.
    """
    tensors = read_tensors(path)
    head = head_names(module.network)
    if config.classes == module.classes:
        load_tensors(module.network, tensors, source=name)
        return f"kept all {len(tensors)} tensors of {name}, head included: the classes are the same"
    fresh = module.network.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name not in head}
    load_tensors(module.network, {**kept, **{name: fresh[name] for name in head}}, source=name)
    return (
        f"kept the backbone of {name} ({len(kept)} tensors) and reset the head ({len(head)} tensors): "
        f"its {len(config.classes)} classes are not the {len(module.classes)} of this data"
    )


def head_names(network: nn.Module) -> list[str]:
    """Names of the tensors of the classifier, the only ones that depend on the classes."""
    classifier = network.get_classifier()  # type: ignore[operator]  # nn.Module types any attribute as a Tensor
    prefix = next(name for name, module in network.named_modules() if module is classifier)
    return [name for name in network.state_dict() if name.startswith(f"{prefix}.")]
