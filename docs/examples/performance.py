"""Measure what the page docs/performance.md tells, on this machine, and write it there.

    python docs/examples/performance.py [--device cpu|cuda] [--page FILE] [--quick]

Each device has its own part of the page, between two comments; a part whose device is not here stays as it is. --quick
takes small images, once, and compiles nothing: it shows that the script works, and its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch  # noqa: TID253 - a script

from dat_cli.benchmark.grid import Plan, measure
from dat_cli.benchmark.machine import describe_machine
from dat_cli.benchmark.results import Cell, Compile, Precision, Spread, Task
from dat_cli.cli.commands.benchmark_output import columns, costs, rows, title
from dat_cli.cli.logs import set_up_logging
from dat_cli.report.costs import draw_costs, save_costs
from dat_cli.whole import whole_file

DAT, DAT_PP, SWIN = "dat_tiny", "dat_pp_tiny", "timm:swin_tiny_patch4_window7_224"
SIZES = (224, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Target:
    """A row of the table of targets.

    Attributes:
        what: In words.
        networks: Each has to reach it.
        against: Label that follows the network's in a ratio: that of another, ``reference`` or ``eager``.
        most: Whether the ratio (of time or memory) is to be at most the bound; otherwise (of speed) at least.
        bound: The target.
        memory: Whether it is about memory.
    """

    what: str
    networks: tuple[str, ...]
    against: str
    bound: float
    task: Task
    batch_size: int
    image_size: int = 224
    most: bool = False
    memory: bool = False
    compile: Compile = "false"


CPU_TARGETS = (
    Target("DAT-T, inference, batch 8, speed", (DAT,), SWIN, 1.0, "inference", 8),
    Target("DAT++-T, inference, batch 8, speed", (DAT_PP,), SWIN, 0.95, "inference", 8),
    Target("DAT-T, latency at batch 1", (DAT,), SWIN, 1.0, "inference", 1, most=True),
    Target("DAT++-T, latency at batch 1", (DAT_PP,), SWIN, 1.2, "inference", 1, most=True),
    Target("DAT-T, training step, batch 8, speed", (DAT,), SWIN, 1.0, "training", 8),
    Target("both, compiled, inference, batch 8, speed", (DAT, DAT_PP), "eager", 1.3, "inference", 8, compile="true"),
)
_GPU_RATIOS = (("DAT-T", DAT, SWIN, 0.95), ("DAT-T", DAT, "reference", 2.0), ("DAT++-T", DAT_PP, SWIN, 0.85))
GPU_TARGETS = (
    *(
        Target(f"{name}, compiled, {task}, batch 128, speed", (key,), against, bound, task, 128, compile="true")
        for name, key, against, bound in _GPU_RATIOS
        for task in ("inference", "training")
    ),
    Target("both, training, batch 128, memory", (DAT, DAT_PP), SWIN, 1.1, "training", 128, most=True, memory=True,
           compile="true"),
    Target("DAT++-T, 1024 pixels, training, batch 2, memory", (DAT_PP,), "reference", 0.5, "training", 2, 1024,
           most=True, memory=True),
)  # fmt: skip
TARGETS = {"cpu": CPU_TARGETS, "cuda": GPU_TARGETS}


def main() -> None:
    """Measure on the devices that are here, or on the one that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--page", type=Path, default=Path(__file__).parents[1] / "performance.md")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    set_up_logging()
    here = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in [options.device] if options.device else here:
        picture = options.page.parent / "pictures" / f"cost-{device}.svg"
        picture.parent.mkdir(exist_ok=True)
        write_part(options.page, device, measured(device, picture, quick=options.quick))


def plans(device: str) -> Iterator[Plan]:
    """What is measured: for the targets first, and last the cost against image size."""
    cpu = device == "cpu"
    precision: Precision = "32" if cpu else "bf16"
    common = Plan((DAT, DAT_PP), (SWIN, "reference"), ("inference",), (224,), (1, 8) if cpu else (1, 128),
                  (precision,), ("false",), 7, 3, torch.device(device))  # fmt: skip
    yield common
    yield replace(common, tasks=("training",), batch_sizes=(8,) if cpu else (128,))
    compiled = replace(common, compiles=("true",), against=("eager", SWIN) if cpu else ("eager", SWIN, "reference"))
    compiled = replace(compiled, batch_sizes=(8,)) if cpu else compiled  # each size takes minutes to compile
    yield compiled
    if not cpu:
        yield replace(compiled, tasks=("training",), batch_sizes=(128,))
    by_size = replace(common, image_sizes=SIZES, batch_sizes=(1,) if cpu else (2,), rounds=3, warmup=1)
    # On a CPU a step of the plain arithmetic at 1024 pixels takes a minute; on a GPU, 50 GiB of memory for an image.
    if cpu:
        yield replace(by_size, image_sizes=SIZES[1:4], against=(SWIN,), tasks=("training",))
    yield replace(by_size, against=(SWIN,)) if cpu else replace(by_size, tasks=("inference", "training"))


def measured(device: str, picture: Path, *, quick: bool) -> str:
    """The part of the page about a device."""
    cells: list[Cell] = []
    tables = []
    machine = describe_machine(torch.device(device))
    for plan in plans(device):
        if quick and plan.compiles != ("false",):
            continue
        sizes = (32, 48) if len(plan.image_sizes) > 1 else (32,)
        run = replace(plan, image_sizes=sizes, batch_sizes=(1, 2), rounds=1, warmup=0) if quick else plan
        found = list(measure(run))
        tables.append(table([column.title for column in columns(found)], written(found)))
        cells += found
        if len(run.image_sizes) > 1 and "inference" in run.tasks and (figure := draw_costs(costs(found))) is not None:
            save_costs(figure, picture)
    drawn = f"![Milliseconds an image and memory, against image size](pictures/{picture.name})"
    targets = table(["what", "against", "target", "measured"], target_rows(TARGETS[device], cells))
    return "\n\n".join([f"{title(machine, cells)}.", targets, *tables, drawn])


def target_rows(targets: Sequence[Target], cells: Sequence[Cell]) -> list[list[str]]:
    """Each target with what was measured, the quartiles of the rounds in brackets."""
    found = []
    for target in targets:
        bound = f"at {'most' if target.most else 'least'} {target.bound:g} x"
        values = [value for name in target.networks if (value := ratio(target, name, cells))]
        against = target.against.removeprefix("timm:")
        found.append([target.what, against, bound, "; ".join(values) or "not measured"])
    return found


def ratio(target: Target, network: str, cells: Sequence[Cell]) -> str | None:
    """The ratio of a target in words; None if it was not measured."""
    wanted = (target.task, target.image_size, target.batch_size, target.compile)
    label = f"{network} ({target.against})" if target.against in ("reference", "eager") else target.against
    for cell in cells:
        at = cell.conditions
        if (at.task, at.image_size, at.batch_size, at.compile) == wanted:
            for each in cell.ratios:
                if (each.network, each.against) == (network, label):
                    if target.memory:
                        return None if each.memory is None else f"{each.memory:.2f}"
                    speed = each.speed
                    if target.most:
                        speed = Spread(1 / speed.median, 1 / speed.high, 1 / speed.low)
                    return f"{speed.median:.2f} ({speed.low:.2f}-{speed.high:.2f})"
    return None


def written(cells: list[Cell]) -> list[list[str]]:
    """Numbers as the command writes them."""
    specs = [column.spec for column in columns(cells)]
    return [
        ["-" if value is None else format(value, spec) for value, spec in zip(row, specs, strict=True)]
        for row in rows(cells)
    ]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def write_part(page: Path, device: str, text: str) -> None:
    """Replace what stands between the two comments of a device."""
    begin, end = (f"<!-- {word} of what was measured on {device} -->" for word in ("begin", "end"))
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(f"{begin}.*{end}", lambda _: f"{begin}\n{text}\n{end}", old, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page} has no part for {device}")
    with whole_file(page) as place:
        place.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
