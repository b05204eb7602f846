"""``dat benchmark``: how fast networks are, always beside what they are compared with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dat_cli.catalog import get_variant
from dat_cli.cli.options import PlainParser
from dat_cli.errors import DatError, UsageError

if TYPE_CHECKING:
    import torch

    from dat_cli.benchmark.grid import Plan

_DEFAULT = ("dat_tiny", "dat_pp_tiny")
_PLOTTED = (224, 384, 512, 768, 1024)
_TASKS = ("inference", "training")
_PRECISIONS = ("32", "bf16", "16")
_COMPILES = ("false", "true", "reduce-overhead")
_DEVICES = ("auto", "cpu", "cuda")
_SUFFIXES = (".png", ".svg")
_SMALLEST_IMAGE, _LARGEST_IMAGE = 32, 8192

_T = TypeVar("_T")


def main(args: list[str]) -> int:
    """Measure, and print what was found.

    Args:
        args: ``benchmark``, names of networks and options in any order.

    Returns:
        0 when everything could be measured.

    Raises:
        DatError: Something could not; the rest is printed.
    """
    options = _parser().parse_intermixed_args(args[1:])
    _check(options)

    from dat_cli.benchmark.grid import measure
    from dat_cli.benchmark.machine import describe_machine
    from dat_cli.cli.commands.benchmark_output import Output

    plan = _plan(options)
    with _threads(options.threads):
        output = Output(describe_machine(plan.device), options.format, options.plot)
        try:
            for cell in measure(plan):
                output.cells.append(cell)
        finally:  # Ctrl+C too: what was measured is shown
            output.write()
    failed, asked = output.count()
    if failed:
        raise DatError(f"{failed} of {asked} measurements could not be made")
    return 0


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
        default=["reference"],
        help="what each is compared with: reference (its own plain arithmetic, if none is given), eager (itself, not "
        "compiled), a variant, timm:NAME of timm's networks, or none",
    )
    add("--image_size", metavar="PIXELS", type=_list_of(_whole(_SMALLEST_IMAGE, _LARGEST_IMAGE)), help="224, or with "
        f"--plot {','.join(map(str, _PLOTTED))}, if not given")  # fmt: skip
    add("--batch_size", type=_list_of(_whole(1, 65536)), default=[1, 8], help="images in a call; 1,8 if not given")
    add("--precision", type=_list_of(_one_of(_PRECISIONS)), help="32, bf16 or 16; what dat fit takes here if not given")
    add(
        "--compile",
        type=_compiles,
        default=["false"],
        help="false (if not given), true, both, or reduce-overhead, which uses CUDA graphs",
    )
    add("--task", type=_list_of(_one_of(_TASKS)), default=list(_TASKS), help="inference, training; both if not given")
    add("--rounds", type=_whole(1, 10_000), default=7, help="timings of each network; 7 if not given")
    add("--warmup", type=_whole(0, 10_000), default=2, help="calls before them, beside the first; 2 if not given")
    add("--device", choices=_DEVICES, default="auto", help="where to compute; a GPU if there is one")
    add("--threads", type=_whole(1, 1024), help="of a CPU; PyTorch's choice if not given")
    add("--format", choices=["table", "json"], default="table", help="table is the default")
    add("--plot", metavar="FILE", type=Path, help="draw cost against image size and batch size, as .png or .svg")
    return parser


def _check(options: argparse.Namespace) -> None:
    """What can be known to be wrong before torch is imported."""
    options.networks = list(dict.fromkeys(options.networks or _DEFAULT))
    if options.against == ["none"]:
        options.against = []
    for name in (*options.networks, *options.against):
        if not name.startswith("timm:") and not (name in ("reference", "eager") and name in options.against):
            get_variant(name)
    if "eager" in options.against and options.compile == ["false"]:
        raise UsageError("--against eager: nothing is compiled", hint="add --compile true")
    if options.against and set(options.against) == set(options.networks) and len(options.networks) == 1:
        raise UsageError(f"--against {options.against[0]}: that is the network itself", hint="name another")
    if (plot := options.plot) is not None:
        if plot.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"--plot {plot}: a picture ends in {' or '.join(_SUFFIXES)}")
        if plot.is_dir() or not plot.expanduser().parent.is_dir():
            raise UsageError(f"--plot {plot}: there is no folder {plot.parent}", hint="make it first")


def _plan(options: argparse.Namespace) -> Plan:
    from dat_cli.benchmark.grid import Plan
    from dat_cli.benchmark.subjects import check_network

    for name in (*options.networks, *options.against):
        if name.startswith("timm:"):
            check_network(name)
    device = _device(options.device)
    return Plan(
        networks=tuple(options.networks),
        against=tuple(options.against),
        tasks=tuple(options.task),
        image_sizes=tuple(options.image_size or (_PLOTTED if options.plot else (224,))),
        batch_sizes=tuple(options.batch_size),
        precisions=tuple(options.precision or [_usual_precision(device)]),
        compiles=tuple(options.compile),
        rounds=options.rounds,
        warmup=options.warmup,
        device=device,
    )


def _device(name: str) -> torch.device:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no such device here", hint="leave it out")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _usual_precision(device: torch.device) -> str:
    from dat_cli.train.hardware import default_precision

    return default_precision(device.type).partition("-")[0]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
