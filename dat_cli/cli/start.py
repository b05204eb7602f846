"""What a training takes over from the weights that it starts from, and what its options may change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from jsonargparse import Namespace, dict_to_namespace

from dat_cli.catalog import get_variant
from dat_cli.errors import UsageError
from dat_cli.run.resolve import Weights
from dat_cli.run.source import published_window
from dat_cli.train.transfer import can_start


def take_over(options: Namespace, given: Collection[str], weights: Weights) -> None:
    """Set the options of a training to what weights say, where nobody said otherwise.

    Another image size is allowed, and a variant that differs in nothing but sizes: tables of position bias are resized.

    Args:
        options: Of the command; changed in place.
        given: Names of those that somebody gave.
        weights: What the training starts from.

    Raises:
        UsageError: The options ask for a network that these weights are not of.
    """
    config = weights.config
    asked = options.model.arch if "model.arch" in given else config.architecture
    if not can_start(asked, config.architecture):
        raise UsageError(
            f"model.arch is {asked}, but {weights.name} was made with {config.architecture}",
            hint="leave it out, or a config that says it, or give other weights",
        )
    variant, is_other = get_variant(asked), asked != config.architecture
    trained = max(config.preprocessing.input_size[1:])
    preprocessing = (variant if is_other else config).preprocessing
    if not any(name.startswith("data.preprocessing") for name in given):
        options.data.preprocessing = dict_to_namespace(asdict(preprocessing))
    size = options.data.image_size or max(options.data.preprocessing.input_size[1:])
    theirs = get_variant(config.architecture)
    img_size = int(config.model_args.get("img_size", theirs.image_size))
    window = int(config.model_args.get("window", theirs.window))
    if is_other:
        img_size, window = size, variant.window
    elif size != trained:
        grows = variant.generation == "dat" and window == published_window(img_size)
        img_size, window = size, published_window(size) if grows else window
    options.model.arch = asked
    for name, value in (("img_size", img_size), ("window", window)):
        if f"model.{name}" not in given or options.model[name] is None:
            options.model[name] = value
