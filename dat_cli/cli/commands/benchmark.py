"""``dat benchmark``: how fast networks are, always beside what they are compared with."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dat_cli.cli.commands.benchmark_options import parse
from dat_cli.errors import DatError, UsageError

if TYPE_CHECKING:
    import torch

    from dat_cli.benchmark.grid import Plan


def main(args: list[str]) -> int:
    """Measure, and print what was found.

    Args:
        args: ``benchmark``, names of networks and options in any order.

    Returns:
        0 when everything could be measured.

    Raises:
        DatError: Something could not; the rest is printed.
    """
    options = parse(args[1:])

    from dat_cli.benchmark.grid import measure
    from dat_cli.benchmark.machine import describe_machine
    from dat_cli.cli.commands.benchmark_output import Output

    plan = _plan(options)
    with _threads(options.threads):
        output = Output(describe_machine(plan.device), options.format, options.plot, source=options.data)
        try:
            if options.data is not None:
                from dat_cli.benchmark.bounds import measure_loading  # imports Lightning

                for loading in measure_loading(options.data, plan.image_sizes, plan.batch_sizes):
                    output.loading.append(loading)
            for cell in measure(plan):
                output.cells.append(cell)
        finally:  # Ctrl+C too: what was measured is shown
            output.write()
    failed, asked = output.count()
    if failed:
        raise DatError(f"{failed} of {asked} measurements could not be made")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    from dat_cli.benchmark.grid import Plan
    from dat_cli.benchmark.subjects import check_network

    for name in (*options.networks, *options.against):
        if name.startswith("timm:"):
            check_network(name)
    device = _device(options.device)
    if device.type == "cpu" and "16" in (options.precision or ()):
        raise UsageError("--precision 16 needs a GPU", hint="a CPU computes in 32 or bf16")
    return Plan(
        networks=tuple(options.networks),
        against=tuple(options.against),
        tasks=tuple(options.task),
        image_sizes=tuple(options.image_size),
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
