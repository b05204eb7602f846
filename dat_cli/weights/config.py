"""What a weights file says about itself, checked as the word of a stranger. Nothing here imports torch."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dat_cli.catalog import Preprocessing, get_variant
from dat_cli.errors import ModelError, WeightsError, did_you_mean

MAX_CLASSES = 100_000
MAX_NAME = 500
MAX_SIDE = 4096
"""Pixels; far beyond what the networks are used at, far below what exhausts a machine."""
MAX_RESIZED = 8192
"""Pixels of a side before the crop."""
TEMPERATURES = (0.05, 20.0)
"""Far beyond what networks need, which is mostly from 0.5 to 3."""
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MODEL_ARGS: dict[str, tuple[type, float, float]] = {
    "img_size": (int, 32, MAX_SIDE),
    "window": (int, 1, 64),
    "in_chans": (int, 1, 64),
    "drop_rate": (float, 0.0, 0.99),
    "drop_path_rate": (float, 0.0, 0.99),
}


@dataclass(frozen=True)
class WeightsConfig:
    """Everything that is needed to use the tensors beside it.

    Attributes:
        architecture: Name of a published variant.
        classes: Class names, by the index of the network's outputs.
        preprocessing: How a picture becomes the network's input.
        model_args: Further arguments of ``create_model``: img_size, window, in_chans, drop_rate, drop_path_rate.
        metrics: What the weights reached, by name of the metric.
        trained_on: The data they were trained on, in words.
        license: Name of the licence of the weights, as the Hub spells it.
        origin: What the tensors were converted from: the name of a file, without its folder, or an address.
        origin_sha256: Its SHA-256, in 64 hexadecimal digits.
        temperature: What logits are divided by before softmax, so that a class that is given with 80 % is right in 8 of
            10 cases; None for weights that were never calibrated.

    Raises:
        WeightsError: A value cannot be; says which.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    model_args: dict[str, int | float | str | bool] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    trained_on: str | None = None
    license: str | None = None
    origin: str | None = None
    origin_sha256: str | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        check_architecture(self.architecture)
        _check_classes(self.classes)
        _check_preprocessing(self.preprocessing)
        _check_model_args(self.model_args, self.architecture, channels=self.preprocessing.input_size[0])
        _check_metrics(self.metrics)
        for name in ("trained_on", "license", "origin", "origin_sha256"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        if self.temperature is not None:
            _check_number("temperature", self.temperature, float, *TEMPERATURES)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists, dictionaries, strings and numbers, as JSON and a checkpoint hold them."""
        plain = asdict(self)
        if self.temperature is None:
            del plain["temperature"]  # so that weights without one stay the same, byte for byte
        plain["classes"] = list(self.classes)
        plain["preprocessing"] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in plain["preprocessing"].items()
        }
        return plain

    @classmethod
    def from_dict(cls, data: object, *, source: str = "weights") -> WeightsConfig:
        """Read what ``to_dict`` wrote, or a stranger did.

        Args:
            data: The dictionary.
            source: The file it comes from, for errors.

        Raises:
            WeightsError: Something is missing, unknown, of a wrong type or absurd; one line that names the source.
        """
        try:
            entries = _entries("the configuration", data, cls, required=("architecture", "classes", "preprocessing"))
            shown = _entries("preprocessing", entries["preprocessing"], Preprocessing, required=("input_size",))
            entries["classes"] = _tuple("classes", entries["classes"])
            for name in ("input_size", "mean", "std"):
                if name in shown:
                    shown[name] = _tuple(name, shown[name])
            entries["preprocessing"] = Preprocessing(**shown)
            return cls(**entries)
        except WeightsError as error:
            raise WeightsError(f"{source}: {error.message}", hint=error.hint) from None


def check_architecture(name: object) -> None:
    """Refuse what is not the name of a published variant.

    Raises:
        WeightsError: It is not; names the nearest.
    """
    if not isinstance(name, str):
        raise WeightsError(f"architecture is {shown(name)}, not a name")
    try:
        get_variant(name)
    except ModelError as error:
        raise WeightsError(f"unknown architecture {shown(name)}", hint=error.hint) from None


def shown(value: object) -> str:
    """``value`` as ASCII of bounded length: it may be long, hold itself, or move a terminal's cursor."""
    few = isinstance(value, list | tuple) and len(value) < 10 and all(map(_is_short, value))
    text = ascii(value) if few or _is_short(value) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_short(value: object) -> bool:
    """Whether its text takes no time: of a whole number with thousands of digits Python makes none."""
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 2000)


def _entries(where: str, data: object, kind: type, *, required: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise WeightsError(f"{where} is {shown(data)}, not a dictionary")
    known = [entry.name for entry in fields(kind)]
    for name in data:
        if name not in known:
            near = did_you_mean(name, known) if isinstance(name, str) else None
            raise WeightsError(f"{where} has an unknown entry {shown(name)}", hint=near)
    for name in required:
        if name not in data:
            raise WeightsError(f"{where} lacks {name!r}")
    return {str(name): value for name, value in data.items()}


def _tuple(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise WeightsError(f"{name} is {shown(value)}, not a list")
    return tuple(value)


def _check_classes(classes: tuple[str, ...]) -> None:
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise WeightsError(f"there are {len(classes)} classes; 1 to {MAX_CLASSES} are possible")
    seen: dict[str, int] = {}
    for index, name in enumerate(classes):
        _check_text(f"class {index}", name)
        if name in seen:
            raise WeightsError(f"classes {seen[name]} and {index} have the same name {shown(name)}")
        seen[name] = index


def _check_preprocessing(p: Preprocessing) -> None:
    if len(p.input_size) != 3:
        raise WeightsError(f"input_size is {shown(p.input_size)}, not channels, height and width")
    _check_number("channels of input_size", p.input_size[0], int, 1, 64)
    for side in p.input_size[1:]:
        _check_number("input_size", side, int, 32, MAX_SIDE)
    for name, values, lowest in (("mean", p.mean, -100.0), ("std", p.std, 1e-6)):
        if len(values) != p.input_size[0]:
            raise WeightsError(f"{name} has {len(values)} values for {p.input_size[0]} channels")
        for value in values:
            _check_number(name, value, float, lowest, 100.0)
    _check_number("crop_pct", p.crop_pct, float, 0.1, 1.0)
    if max(p.input_size[1:]) / p.crop_pct > MAX_RESIZED:
        raise WeightsError(f"a crop of {p.crop_pct} of {max(p.input_size[1:])} pixels needs images that are too large")
    _check_choice("interpolation", p.interpolation, ("bicubic", "bilinear", "nearest"))
    _check_choice("crop_mode", p.crop_mode, ("squash", "center"))


def _check_model_args(arguments: object, architecture: str, *, channels: int) -> None:
    if not isinstance(arguments, dict):
        raise WeightsError(f"model_args is {shown(arguments)}, not a dictionary")
    for name, value in arguments.items():
        if name not in _MODEL_ARGS:
            raise WeightsError(f"unknown model argument {shown(name)}", hint=f"there are {', '.join(_MODEL_ARGS)}")
        _check_number(name, value, *_MODEL_ARGS[name])
    if arguments.get("window", 1) % 2 == 0 and get_variant(architecture).generation == "dat_pp":
        raise WeightsError(f"window is {arguments['window']}, but a neighbourhood of {architecture} has a centre")
    if arguments.get("in_chans", 3) != channels:
        raise WeightsError(f"the network takes {arguments.get('in_chans', 3)} channels, its input_size has {channels}")


def _check_metrics(metrics: object) -> None:
    if not isinstance(metrics, dict) or len(metrics) > 1000:
        raise WeightsError("metrics is not a dictionary of at most 1000 numbers")
    for name, value in metrics.items():
        _check_text("the name of a metric", name)
        _check_number(name, value, float, -math.inf, math.inf)


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise WeightsError(f"{what} is {shown(value)}, not a string")
    if not value.strip() or len(value) > MAX_NAME:
        raise WeightsError(f"{what} has {len(value)} characters; 1 to {MAX_NAME} that are not blank are possible")
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI_CONTROLS for char in value):
        raise WeightsError(f"{what} is {shown(value)}, with a control character")


def _check_number(name: str, value: object, kind: type, low: float, high: float) -> None:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not numeric or (kind is int and not isinstance(value, int)):
        raise WeightsError(f"{name} is {shown(value)}, not {'a whole' if kind is int else 'a'} number")
    # A comparison with NaN is false; infinity lies within no finite bounds and is refused where there are none.
    if not (isinstance(value, int | float) and low <= value <= high and abs(value) <= sys.float_info.max):
        raise WeightsError(f"{name} is {shown(value)}, outside of {low:g} to {high:g}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise WeightsError(f"{name} is {shown(value)}, not one of {', '.join(choices)}")
