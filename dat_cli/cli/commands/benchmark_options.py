"""The options of ``dat benchmark``, and what can be known to be wrong before torch is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dat_cli.catalog import VARIANTS, get_variant
from dat_cli.cli.options import PlainParser
from dat_cli.errors import UsageError, did_you_mean

_DEFAULT = ("dat_tiny", "dat_pp_tiny")
_PLOTTED = (224, 384, 512, 768, 1024)
_FORMS = ("reference", "eager")
_NONE = "none"
_TASKS = ("inference", "training")
_PRECISIONS = ("32", "bf16", "16")
_COMPILES = ("false", "true", "reduce-overhead")
_DEVICES = ("auto", "cpu", "cuda")
_SUFFIXES = (".png", ".svg")
_SMALLEST_IMAGE, _LARGEST_IMAGE = 32, 8192

_T = TypeVar("_T")


def parse(words: list[str]) -> argparse.Namespace:
    """Options with their defaults, of which some depend on others.

    Raises:
        UsageError: Something is wrong.
    """
    options = _parser().parse_intermixed_args(words)
    alone = options.data is None
    options.networks = list(dict.fromkeys(options.networks or _DEFAULT))
    options.against = options.against or (["reference"] if alone else [])
    options.against = [] if options.against == [_NONE] else options.against
    options.task = options.task or (list(_TASKS) if alone else ["training"])
    options.batch_size = options.batch_size or ([1, 8] if alone else [32])  # as dat fit
    options.image_size = options.image_size or list(_PLOTTED if options.plot else (224,))
    _check_networks(options)
    if not alone and "training" not in options.task:
        raise UsageError("--data compares loading with training", hint="leave out --task")
    if options.plot is not None:
        options.plot = options.plot.expanduser()
        _check_plot(options.plot, len(options.image_size) * len(options.batch_size))
    return options


def _check_networks(options: argparse.Namespace) -> None:
    for name in options.networks:
        if not name.startswith("timm:"):
            get_variant(name)
    if _NONE in options.against:
        raise UsageError("--against none stands alone", hint="leave out none, or the others")
    for name in options.against:
        if name not in VARIANTS and name not in _FORMS and not name.startswith("timm:"):
            known = (*_FORMS, _NONE, *VARIANTS)
            hint = did_you_mean(name, known) or f"there are {', '.join(VARIANTS)} and timm:NAME"
            raise UsageError(f"--against {name!r}: neither a model nor reference, eager or none", hint=hint)
    if "eager" in options.against and options.compile == ["false"]:
        raise UsageError("--against eager: nothing is compiled", hint="add --compile true")
    if options.against and options.against == options.networks:
        raise UsageError(f"--against {options.against[0]}: that is the network itself", hint="name another")


def _check_plot(path: Path, sizes: int) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--plot {path}: a picture ends in {' or '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}", hint="make it first")
    if path.is_dir():
        raise UsageError(f"--plot {path}: that is a folder", hint="name a file")
    if sizes < 2:
        raise UsageError("--plot draws cost against sizes", hint="give several with --image_size or --batch_size")


def _parser() -> argparse.ArgumentParser:
    parser = PlainParser(
        prog="dat benchmark",
        description="Measure images per second and peak memory of networks, in turns with others in one process, so "
        "that the ratio holds even where the machine is busy. Several values are given with commas between them.",
    )
    add = parser.add_argument
    add("networks", nargs="*", metavar="NAME", help=f"variants, or timm:NAME; {' '.join(_DEFAULT)} if none is given")
    add(
        "--against",
        type=_list_of(str),
        help="what each is compared with: reference (its own plain arithmetic; if nothing is given, and no --data), "
        "eager (itself, not compiled), a variant, timm:NAME of timm's networks, or none",
    )
    add("--image_size", metavar="PIXELS", type=_list_of(_whole(_SMALLEST_IMAGE, _LARGEST_IMAGE)), help="224, or with "
        f"--plot {','.join(map(str, _PLOTTED))}, if not given")  # fmt: skip
    add("--batch_size", type=_list_of(_whole(1, 65536)), help="images in a call; 1,8 if not given, with --data 32")
    add("--precision", type=_list_of(_one_of(_PRECISIONS)), help="32, bf16 or 16; what dat fit takes here if not given")
    add(
        "--compile",
        type=_compiles,
        default=["false"],
        help="false (if not given), true, both, or reduce-overhead, which uses CUDA graphs",
    )
    add("--task", type=_list_of(_one_of(_TASKS)), help="inference, training; both if not given, with --data training")
    add("--rounds", type=_whole(1, 10_000), default=7, help="timings of each network; 7 if not given")
    add("--warmup", type=_whole(0, 10_000), default=2, help="calls before them, beside the first; 2 if not given")
    add("--device", choices=_DEVICES, default="auto", help="where to compute; a GPU if there is one")
    add("--threads", type=_whole(1, 1024), help="of a CPU; PyTorch's choice if not given")
    add("--format", choices=["table", "json"], default="table", help="table is the default")
    add(
        "--data",
        metavar="SOURCE",
        help="images as of dat fit: also how fast they load, and which of the two bounds a fit",
    )
    add("--plot", metavar="FILE", type=Path, help="draw cost against image size and batch size, as .png or .svg")
    return parser


def _list_of(kind: Callable[[str], _T]) -> Callable[[str], list[_T]]:
    def values(text: str) -> list[_T]:
        words = [word for part in text.split(",") if (word := part.strip())]
        if not words:
            raise argparse.ArgumentTypeError("it is empty")
        return list(dict.fromkeys(kind(word) for word in words))

    return values


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def word(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(known)}")
        return text

    return word


def _compiles(text: str) -> list[str]:
    return ["false", "true"] if text == "both" else _list_of(_one_of(_COMPILES))(text)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return number
