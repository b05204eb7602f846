"""Starting from weights that were trained before, possibly on other classes or for another image size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from dat_cli.catalog import get_variant
from dat_cli.models.convert import resize_tables
from dat_cli.train.classification import Classification
from dat_cli.weights import WeightsConfig, load_tensors, read_tensors


def start_from(module: Classification, path: Path, config: WeightsConfig, *, name: str) -> str:
    """Load weights into a module that is about to be trained.

    The head is kept only when the classes are the same in the same order: an output that meant another class
    would be worse than none. Tables of position bias are resized bicubically, as ``dat convert --img_size`` does it,
    where the module is made for another image size or for windows of another size.

    Args:
        module: What will be trained, of the same architecture as the weights but for sizes.
        path: What ``weights.read_tensors`` takes.
        config: What the weights say about themselves.
        name: What a person calls them.

    Returns:
        One line that says what was kept, what was resized and what starts from nothing.

    Raises:
        WeightsError: Tensors of the backbone are missing, left over or of another shape; lists them.
    """
    read = read_tensors(path)
    tensors = _fitted(read, module, config)
    resized = sum(tensor.shape != read[name].shape for name, tensor in tensors.items())
    sizes = f", {resized} position-bias tables resized for {_sizes(module)}" if resized else ""
    head = head_names(module.network)
    if config.classes == module.classes:
        load_tensors(module.network, tensors, source=name)
        return f"kept all {len(tensors)} tensors of {name}{sizes}, head included: the classes are the same"
    fresh = module.network.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name not in head}
    load_tensors(module.network, {**kept, **{name: fresh[name] for name in head}}, source=name)
    return (
        f"kept the backbone of {name} ({len(kept)} tensors{sizes}) and reset the head ({len(head)} tensors): "
        f"its {len(config.classes)} classes are not the {len(module.classes)} of this data"
    )


def can_start(arch: str, weights: str) -> bool:
    """Whether weights of one variant can start another: they are the same, or differ in nothing but sizes.

    So ``dat_base`` starts ``dat_base_384``: only windows and tables are larger, and tables can be resized.

    Raises:
        ModelError: There is no such variant.
    """
    mine, theirs = get_variant(arch), get_variant(weights)
    return mine == replace(
        theirs,
        name=mine.name,
        window=mine.window,
        preprocessing=mine.preprocessing,
        drop_path_rate=mine.drop_path_rate,
        published=mine.published,
    )


def head_names(network: nn.Module) -> list[str]:
    """Names of the tensors of the classifier, the only ones that depend on the classes."""
    classifier = network.get_classifier()  # type: ignore[operator]  # nn.Module types any attribute as a Tensor
    prefix = next(name for name, module in network.named_modules() if module is classifier)
    return [name for name in network.state_dict() if name.startswith(f"{prefix}.")]


def _fitted(tensors: dict[str, Tensor], module: Classification, config: WeightsConfig) -> dict[str, Tensor]:
    """Resized only where the two are said to be of other sizes: a wrong shape by itself is a fault of the file."""
    theirs, mine = get_variant(config.architecture), module.network.variant
    img_size = config.model_args.get("img_size", theirs.image_size)
    window = config.model_args.get("window", theirs.window)
    if (img_size, img_size) == module.network.image_size and window == mine.window:
        return tensors
    return resize_tables(tensors, module.network)


def _sizes(module: Classification) -> str:
    height, width = module.network.image_size
    return f"{height} x {width} pixels and windows of {module.network.variant.window}"
