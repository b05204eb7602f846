"""``dat explain``: pictures of what a network looks at, and the numbers behind them."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from dat_cli.cli.options import PlainParser
from dat_cli.cli.output import to_json
from dat_cli.errors import DatError, UsageError, did_you_mean

Picture = Literal["points", "attention", "saliency", "compare"]

_PICTURES: tuple[Picture, ...] = get_args(Picture)
_SIZES = (200, 8000)  # pixels; smaller ones cannot be read, larger ones fill the memory
_DEVICES = ("cpu", "cuda", "mps")


def main(args: list[str]) -> int:
    """Explain images.

    Args:
        args: ``explain``, images and options in any order.

    Returns:
        0 when all images could be read.

    Raises:
        DatError: Some could not.
    """
    options = _parser().parse_intermixed_args(args[1:])
    pictures = _pictures(options.picture)
    if options.format == "json" and options.output is not None:
        raise UsageError(
            "--output is a folder for pictures; JSON goes to standard output", hint="leave it out, or use >"
        )

    from dat_cli.run.images import ImagePaths
    from dat_cli.run.resolve import DEFAULT, find_weights

    _check_are_images(options.images)
    images = ImagePaths(options.images, listed=options.list)
    weights = find_weights(options.weights or DEFAULT, owner=options.owner)

    from dat_cli.interpret.select import Choice
    from dat_cli.run.explain import Explainer, Wish  # imports torch, which nothing above has needed

    choice = Choice(tuple(options.block), options.head, options.group, tuple(options.query))
    network, config = _load(weights, options.image_size, options.device)
    explainer = Explainer(network, config, Wish(pictures, choice, options.class_, options.size))
    if options.format == "json":
        _print_list(explainer.count(images))
    else:
        folder = Path(options.output or "explained").expanduser()
        for place in explainer.draw(images, folder, f".{options.format}"):
            sys.stdout.write(f"{place}\n")
            sys.stdout.flush()
    if explainer.failed:
        raise DatError(f"{explainer.failed} of {explainer.seen} images could not be explained")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat explain",
        description="Draw what a network looks at in images: where deformable attention samples (points), which keys a "
        "place attends to (attention), what speaks for a class (saliency), and what the same place would see in other "
        "networks (compare).",
    )
    add = parser.add_argument
    add(
        "images", nargs="*", help="images, folders (searched recursively), quoted patterns, http addresses, - for stdin"
    )
    add("--list", metavar="FILE", help="a file with the path or address of an image in each line; - for stdin")
    add("--weights", help="a run, a file, owner/name on the Hub, or a published network; dat_tiny if not given")
    add("--owner", help="whose weights on the Hub the name of a published network means")
    pictures = f"one or more of {','.join(_PICTURES)}; all if not given"
    add("--picture", metavar="NAMES", type=_names, action="extend", help=pictures)
    add(
        "--query",
        metavar="X,Y",
        type=_query,
        action="append",
        default=[],
        help="a place in pixels of the image, for attention and compare; repeatable; the most salient if not given",
    )
    add(
        "--block",
        metavar="S.B",
        type=_names,
        action="extend",
        default=[],
        help="blocks such as 3.2, the second of the third stage, with commas between; all deformable ones if not given",
    )
    add("--head", metavar="N", type=_head, help="one attention head, from 1, or all; their mean if not given")
    add("--group", metavar="N", type=_whole, help="one group of sampling points, from 1; all if not given")
    add(
        "--class",
        metavar="NAME",
        dest="class_",
        help="name or index of the class that saliency is of; the most probable one if not given",
    )
    add("--size", metavar="PIXELS", type=_size, default=1600, help="longer side of a picture; 1600 if not given")
    add("--image_size", metavar="PIXELS", type=_whole, help="of the network's input; its own if not given")
    add("--format", choices=["png", "svg", "json"], default="png", help="pictures, png if not given; or their numbers")
    add("--output", metavar="DIR", help="folder for the pictures; explained if not given")
    add("--device", choices=_DEVICES, help="where to compute; a GPU if there is one")
    return parser


def _load(weights: Any, image_size: int | None, device: str | None) -> tuple[Any, Any]:
    """The network where it is to run, and what its weights say, for another size of the input if one is asked for."""
    from dataclasses import replace

    import torch

    from dat_cli.run.load import load_model

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no such device here", hint="leave it out")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: there is no such device here", hint="leave it out")
    network, config = load_model(weights)
    if image_size is not None:
        config = replace(config, preprocessing=config.preprocessing.at(image_size))
    return network.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), config


def _print_list(records: Iterable[object]) -> None:
    """One JSON list, written as its entries come."""
    separator = "[\n"
    for record in records:
        sys.stdout.write(f"{separator}{to_json(record, sys.stdout)}")
        sys.stdout.flush()
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def _check_are_images(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if argument in _PICTURES and not Path(argument).exists():
            raise UsageError(f"there is no image {argument!r}", hint=f"a picture is chosen with --picture {argument}")


def _pictures(given: Sequence[str] | None) -> tuple[str, ...]:
    names = _PICTURES if given is None else given
    for name in names:
        if name not in _PICTURES:
            hint = did_you_mean(name, _PICTURES) or f"there are {', '.join(_PICTURES)}"
            raise UsageError(f"there is no picture {name!r}", hint=hint)
    return tuple(dict.fromkeys(names))


def _names(text: str) -> list[str]:
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise argparse.ArgumentTypeError("it is empty")
    return names


def _query(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a place such as 120,80")
    return x, y


def _head(text: str) -> int | str:
    return text if text == "all" else _whole(text)


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _size(text: str) -> int:
    low, high = _SIZES
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels from {low} to {high}")
    return int(text)
