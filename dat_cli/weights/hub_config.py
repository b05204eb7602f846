"""The config.json of a Hub repository: timm's keys, and one of ours for what timm has no key for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dat_cli import __version__
from dat_cli.catalog import VARIANTS
from dat_cli.errors import WeightsError
from dat_cli.weights.config import MAX_CLASSES, WeightsConfig, check_architecture, shown

FORMAT = 1
"""Of what stands under ``dat``; a reader refuses a higher one."""

_PREPROCESSING = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
# What timm assumes where a file says nothing; crop_mode differs from the published variants' own.
_ASSUMED = {"crop_mode": "center"}
# Arguments that timm records and that the rest of the file says too, with the one value each may have here.
_SAID_ELSEWHERE = ("num_classes", "global_pool")


def config_json(config: WeightsConfig) -> dict[str, Any]:
    """The document for weights, as plain lists, dictionaries, strings and numbers."""
    own = config.to_dict()
    preprocessing, classes = own.pop("preprocessing"), own.pop("classes")
    return {
        "architecture": own.pop("architecture"),
        "num_classes": len(classes),
        "num_features": VARIANTS[config.architecture].dims[-1],
        "global_pool": "avg",
        "label_names": classes,
        "model_args": own.pop("model_args"),
        "pretrained_cfg": {
            "num_classes": len(classes),
            **preprocessing,
            "classifier": "head",
            "first_conv": "stem.conv",
            "license": own.pop("license"),
        },
        "dat": {"format": FORMAT, "version": __version__, **own},
    }


def from_config_json(data: object, *, source: str) -> WeightsConfig:
    """Read what ``config_json`` made, or timm, or a stranger.

    Args:
        data: The document.
        source: Where it comes from, for errors.

    Raises:
        WeightsError: Something is missing, of a wrong type, absurd, or no DAT; one line that names the source.
    """
    try:
        entries = _our_entries(_mapping("it", data))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error.message}", hint=error.hint) from None
    return WeightsConfig.from_dict(entries, source=source)


def _our_entries(data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``WeightsConfig``, whose own check follows."""
    architecture = data.get("architecture")
    check_architecture(architecture)
    pretrained = _mapping("pretrained_cfg", data.get("pretrained_cfg", data))  # older timm wrote one flat dictionary
    _check_same("num_features", data.get("num_features"), VARIANTS[str(architecture)].dims[-1])
    _check_same("global_pool", data.get("global_pool"), "avg")
    classes = _classes(data, pretrained)
    given = data.get("model_args")
    arguments = {} if given is None else dict(_mapping("model_args", given))
    for name, value in zip(_SAID_ELSEWHERE, (len(classes), "avg"), strict=True):
        _check_same(f"{name} of model_args", arguments.pop(name, None), value)
    arguments = {name: _one_side(value) if name == "img_size" else value for name, value in arguments.items()}
    preprocessing = {name: pretrained[name] for name in _PREPROCESSING if pretrained.get(name) is not None}
    return {
        "architecture": architecture,
        "classes": classes,
        "preprocessing": {**_ASSUMED, "input_size": _input_size(arguments, str(architecture)), **preprocessing},
        "model_args": {name: value for name, value in arguments.items() if value is not None},
        "license": pretrained.get("license"),
        **_own_key(data.get("dat")),
    }


def _own_key(own: object) -> dict[str, Any]:
    if own is None:
        return {}
    entries = dict(_mapping("dat", own))
    version, kind = entries.pop("version", None), entries.pop("format", None)
    if not isinstance(kind, int) or isinstance(kind, bool) or kind < 1:
        raise WeightsError(f"the format under 'dat' is {shown(kind)}, not a number from 1")
    if kind > FORMAT:
        raise WeightsError(f"it has format {kind} of dat {shown(version)}", hint="install a newer dat-cli")
    for name in ("architecture", "classes", "preprocessing", "model_args"):
        if name in entries:
            raise WeightsError(f"'dat' has an unknown entry {name!r}")
    return entries


def _classes(data: Mapping[str, Any], pretrained: Mapping[str, Any]) -> list[object]:
    """Names of the classes: given ones, those of ImageNet where there are 1,000, else numbered ones."""
    number = data.get("num_classes", pretrained.get("num_classes"))
    names = data.get("label_names", pretrained.get("label_names", data.get("labels")))
    if names is None:
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_CLASSES:
            raise WeightsError(f"num_classes is {shown(number)}, not a whole number from 1 to {MAX_CLASSES}")
        if number == 1000:
            from dat_cli.data.imagenet import imagenet_classes

            return list(imagenet_classes())
        return [f"class {index}" for index in range(number)]
    if not isinstance(names, list):
        raise WeightsError(f"label_names is {shown(names)}, not a list")
    _check_same("num_classes", number, len(names))
    return _in_words(names, data.get("label_descriptions", pretrained.get("label_descriptions")))


def _in_words(names: list[object], descriptions: object) -> list[object]:
    """The words that timm has for names such as n01440764, where it has them for all and they differ."""
    if not isinstance(descriptions, dict):
        return names
    words = [descriptions.get(name) for name in names if isinstance(name, str)]
    return list(words) if None not in words and len(set(map(str, words))) == len(names) else names


def _input_size(arguments: Mapping[str, Any], architecture: str) -> list[object]:
    side = arguments.get("img_size", VARIANTS[architecture].image_size)
    return [arguments.get("in_chans", 3), side, side]


def _one_side(value: object) -> object:
    """Timm records the nominal size of an image as a pair too."""
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value


def _mapping(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WeightsError(f"{what} is {shown(value)}, not a dictionary")
    return value


def _check_same(name: str, said: object, known: object) -> None:
    if said is not None and (said != known or isinstance(said, bool)):
        raise WeightsError(f"{name} is {shown(said)}, but only {shown(known)} fits")
