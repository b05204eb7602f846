"""``dat info``: what weights are, from what they say about themselves and their headers, without importing torch."""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from dat_cli.catalog import Preprocessing, get_variant
from dat_cli.cli.options import PlainParser
from dat_cli.cli.output import Column, print_json, print_table
from dat_cli.cli.wording import printable
from dat_cli.macs import count_macs
from dat_cli.run.resolve import Weights, find_weights
from dat_cli.weights import WeightsConfig
from dat_cli.weights.header import tensor_shapes
from dat_cli.weights.problems import some

log = logging.getLogger("dat.info")

_NAMES = 5
_NAME_LENGTH = 40
_PARTS = {
    "stem": "stem",
    **{f"stages.{index}": f"stage {index + 1}" for index in range(4)},
    "norm": "norm",
    "head": "head",
    "other": "other",
}
"""What tensors' names begin with, and what people call it; ``other`` belongs to no network of ours."""
_LAYER = re.compile(r"(stem|stages\.\d+\.(?:blocks\.\d+|downsample)|norm|head)\.")


class _Part(NamedTuple):
    part: str
    parameters: int
    macs: int


def main(args: list[str]) -> int:
    """Print what there is to know; ``args`` begins with the command's own name."""
    options = _parser().parse_args(args[1:])
    weights = find_weights(options.weights, owner=options.owner)
    shapes = tensor_shapes(weights.path)
    if problems := _problems(weights.config, shapes):
        log.warning("these are not the tensors of a whole %s: %s", weights.config.architecture, problems)
    parts = _parts(weights.config, shapes)
    if options.format == "json":
        print_json(_record(weights, parts))
    else:
        rows = [row for row in _rows(weights) if row[1]]
        print_table(["weights", printable(weights.name)], rows)
        total = _Part("total", sum(part.parameters for part in parts), sum(part.macs for part in parts))
        sys.stdout.write("\n")
        print_table([Column("part"), Column("parameters", ","), Column("MACs", ",")], [*parts, total])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat info",
        description="Say what weights are: architecture, classes, preprocessing, size and cost of the network, and "
        "where they come from. Multiply-accumulates (MACs) are those of one image at the size shown.",
    )
    parser.add_argument(
        "weights",
        help="the folder of a run, a .safetensors or .ckpt file, a folder in the layout of a Hub repository, "
        "owner/name[@revision] on the Hub, or one of dat models",
    )
    parser.add_argument("--owner", help="whose repository on the Hub the name of a published network means")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="table is the default")
    return parser


def _problems(config: WeightsConfig, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What names alone tell of tensors that are not the network's; whoever loads them is told all."""
    variant = get_variant(config.architecture)
    wanted = ["stem", *(f"stages.{index}.downsample" for index in (1, 2, 3)), "norm", "head"]
    wanted += [f"stages.{index}.blocks.{block}" for index, depth in enumerate(variant.depths) for block in range(depth)]
    found = dict.fromkeys(match[1] if (match := _LAYER.match(name)) else name for name in shapes)
    head = (len(config.classes), variant.dims[-1])
    listed = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [f"head.weight {shapes['head.weight']} for {head}"]
        if shapes.get("head.weight", head) != head
        else [],
    }
    return ", ".join(f"{len(names)} {problem} ({some(names)})" for problem, names in listed.items() if names)


def _parts(config: WeightsConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[_Part]:
    """Parameters, and multiply-accumulates of one image, of each part of the network, from the image on."""
    _, height, width = config.preprocessing.input_size
    macs = count_macs(
        get_variant(config.architecture),
        height=height,
        width=width,
        num_classes=len(config.classes),
        in_chans=config.preprocessing.input_size[0],
        window=_whole(config.model_args.get("window")),
    )
    parameters = dict.fromkeys(_PARTS, 0)
    for name, shape in shapes.items():
        part = next((part for part in _PARTS if name.startswith(f"{part}.")), "other")
        parameters[part] += math.prod(shape)
    return [
        _Part(_PARTS[part], count, macs.get(part, 0)) for part, count in parameters.items() if count or part in macs
    ]


def _record(weights: Weights, parts: list[_Part]) -> dict[str, Any]:
    plain = weights.config.to_dict()
    return {
        "name": weights.name,
        **plain,
        "parameters": sum(part.parameters for part in parts),
        "macs": sum(part.macs for part in parts),
        "parts": [part._asdict() for part in parts],
        "path": str(weights.path),
        "sha256": weights.sha256,
    }


def _rows(weights: Weights) -> list[tuple[str, str | None]]:
    config, preprocessing = weights.config, weights.config.preprocessing
    channels, height, width = preprocessing.input_size
    return [
        ("architecture", config.architecture),
        ("options", ", ".join(f"{name} {value}" for name, value in config.model_args.items())),
        ("classes", _classes(config)),
        ("size", f"{width} x {height} pixels, {channels} channels"),
        ("preprocessing", _steps(preprocessing)),
        ("metrics", ", ".join(f"{name} {value:.6g}" for name, value in config.metrics.items())),
        ("temperature", "" if config.temperature is None else f"{config.temperature:g}: logits are divided by it"),
        ("trained on", config.trained_on),
        ("licence", config.license),
        ("origin", config.origin),
        ("origin's sha256", config.origin_sha256),
        ("path", str(weights.path)),
        ("sha256", weights.sha256),
    ]


def _classes(config: WeightsConfig) -> str:
    """How many there are, and the first few names."""
    names = [textwrap.shorten(name, _NAME_LENGTH, placeholder=" ...") for name in config.classes[:_NAMES]]
    more = len(config.classes) - len(names)
    return f"{len(config.classes)}: {', '.join(names)}" + (f", and {more} more (--format json has all)" if more else "")


def _steps(p: Preprocessing) -> str:
    """What is done to a picture, in the order in which it is done."""
    sides = "both sides" if p.crop_mode == "squash" else "the shorter side"
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (p.mean, p.std))
    return f"{p.interpolation} resize of {sides}, centre crop of {p.crop_pct:g}, mean {mean}, std {std}"


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
