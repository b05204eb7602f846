"""A network's tensors on their way into a file: made for other image sizes, and described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from dat_cli.catalog import Preprocessing
from dat_cli.data.imagenet import NUM_CLASSES, imagenet_classes
from dat_cli.errors import UsageError
from dat_cli.models.convert import resize_tables
from dat_cli.models.recognise import Recognised
from dat_cli.weights import WeightsConfig
from dat_cli.weights.config import MAX_SIDE
from dat_cli.weights.load import check_tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Source:
    """Tensors that were read, and all that is known of them.

    Attributes:
        name: What to call them in a message.
        tensors: By our names.
        network: What they are of.
        config: What they say about themselves; None for those of strangers.
        origin: The name of their file, without its folder.
        origin_sha256: Its SHA-256.
        metrics: What their file says that they reached.
    """

    name: str
    tensors: dict[str, Tensor]
    network: Recognised
    config: WeightsConfig | None = None
    origin: str | None = None
    origin_sha256: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def checked(source: Source) -> Source:
    """The same, when each tensor of the network is there, has its shape, and is finite.

    Raises:
        WeightsError: It is not so; lists what is missing, left over, misshapen or broken.
    """
    check_tensors(source.network.outline(), source.tensors, source=source.name)
    return source


def resized(source: Source, *, img_size: int | None = None, window: int | None = None) -> Source:
    """Make the tables of position bias for images of another size, bicubically as the authors do.

    What was measured before at another size is no longer said.

    Args:
        source: The tensors.
        img_size: Height and width in pixels; None to keep it.
        window: Size of windows, or the kernel of neighbourhood attention. None keeps that of DAT++; that of DAT grows
            with the image as in the published sizes, 7 up to 224 pixels and 12 for 384, unless it never did.

    Raises:
        ModelError: The kernel of DAT++ is even.
        UsageError: A size is out of range.
    """
    network = source.network
    size = network.img_size if img_size is None else img_size
    if not 32 <= size <= MAX_SIDE:
        raise UsageError(f"--img_size is {size}, not 32 to {MAX_SIDE} pixels")
    if window is None:
        grows = network.variant.generation == "dat" and network.window == published_window(network.img_size)
        window = published_window(size) if grows else network.window
    if not 1 <= window <= 64:
        raise UsageError(f"windows of {window} positions are not possible", hint="give --window 1 to 64")
    changed = replace(network, img_size=size, window=window)
    config = source.config
    if config and img_size is not None and config.preprocessing.input_size[1:] != (size, size):
        config = replace(config, preprocessing=config.preprocessing.at(size), metrics={}, temperature=None)
    if changed == network:
        return replace(source, config=config)
    if config:
        others = {name: value for name, value in config.model_args.items() if name in ("drop_rate", "drop_path_rate")}
        arguments = {**_model_args(changed), **others}
        config = replace(config, model_args=arguments, metrics={}, temperature=None)
    tensors = resize_tables(source.tensors, changed.outline())
    return checked(replace(source, tensors=tensors, network=changed, config=config, metrics={}))


def described(source: Source, labels: Sequence[str] | None = None) -> WeightsConfig:
    """What a weights file of ours says about the tensors.

    Args:
        source: The tensors.
        labels: Names of the classes; None for those that the source has itself, or ImageNet's for 1000 outputs.

    Raises:
        UsageError: There are not as many labels as outputs, or none at all.
        WeightsError: A label or a name is one that a weights file cannot have.
    """
    classes = _classes(source, labels)
    if source.config:
        return replace(source.config, classes=classes)
    network = source.network
    return WeightsConfig(
        architecture=network.variant.name,
        classes=classes,
        preprocessing=_preprocessing(network),
        model_args=_model_args(network),
        metrics=source.metrics,
        origin=source.origin,
        origin_sha256=source.origin_sha256,
    )


def _classes(source: Source, labels: Sequence[str] | None) -> tuple[str, ...]:
    outputs = source.network.num_classes
    if labels is not None:
        if len(labels) != outputs:
            raise UsageError(f"--labels has {len(labels)} names, {source.name} has {outputs} outputs")
        return tuple(labels)
    if source.config:
        return source.config.classes
    if outputs != NUM_CLASSES:
        raise UsageError(
            f"{source.name} has {outputs} outputs, and does not say what they mean",
            hint=f"give --labels FILE with {outputs} names, one per line",
        )
    return imagenet_classes()


def _preprocessing(network: Recognised) -> Preprocessing:
    """That of the published weights; for other channels than three, the mean of their statistics for each."""
    preprocessing = network.variant.preprocessing.at(network.img_size)
    channels = network.in_chans
    if channels == len(preprocessing.mean):
        return preprocessing
    mean, std = (sum(values) / len(values) for values in (preprocessing.mean, preprocessing.std))
    size = (channels, network.img_size, network.img_size)
    return replace(preprocessing, input_size=size, mean=(mean,) * channels, std=(std,) * channels)


def published_window(img_size: int) -> int:
    """Windows as large as the last stage's map, and not smaller than at 224 pixels."""
    return max(7, ceil(img_size / 32))


def _model_args(network: Recognised) -> dict[str, int | float | str | bool]:
    """The arguments of create_model that differ from the variant's own."""
    variant = network.variant
    given = {"img_size": network.img_size, "window": network.window, "in_chans": network.in_chans}
    usual = {"img_size": variant.image_size, "window": variant.window, "in_chans": 3}
    return {name: value for name, value in given.items() if value != usual[name]}
