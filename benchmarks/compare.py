"""How fast the networks of one git revision are against those of another, on this machine and in one run.

    make compare BASE=v0.1.0                                  this folder as it is against a revision
    make compare BASE=main HEAD=fast ARGS="dat_tiny --batch_size 32"
    make compare BASE=main HEAD=main                          what this machine's unrest alone makes of it

Each revision runs in a process of its own, and the two take turns, so that a load or a clock that changes falls on both
alike. A ratio is taken in each round; what is printed is the median of all rounds, and their quartiles.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median, quantiles

from benchmarks.revisions import HERE, ComparisonError, checked_out
from benchmarks.turns import Worker, measure

TASKS = ("inference", "latency", "training")
_LINE = "{:<40} {:>10} {:>10} {:>9}   {}"


def main(args: Sequence[str] | None = None) -> int:
    """Compare, and print a line for each network and task.

    Returns:
        0; 1 where one of the two could not run something; 2 for wrong usage; 130 when interrupted.
    """
    options = _parser().parse_args(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folders of revisions are removed then, too
    try:
        with ExitStack() as stack:
            base, head = (stack.enter_context(checked_out(name)) for name in (options.base, options.head))
            _tell(f"base: {base.name}\nhead: {head.name}\n")
            return compare(stack.enter_context(Worker(base)), stack.enter_context(Worker(head)), options)
    except ComparisonError as error:
        sys.stderr.write(f"compare: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("compare: interrupted\n")
        return 130


def compare(base: Worker, head: Worker, options: argparse.Namespace) -> int:
    """Measure all cells and print a line after each; 1 where one of them failed."""
    _tell(_LINE.format("", "base ms", "head ms", "head is", "quartiles"))
    failed = 0
    for name in options.networks:
        for task in options.task:
            batch_size = 1 if task == "latency" else options.batch_size
            cell = {
                "name": name,
                "task": "training" if task == "training" else "inference",
                "batch_size": batch_size,
                "image_size": options.image_size,
                "precision": options.precision,
                "compiled": options.compile,
                "device": options.device,
                "threads": options.threads,
            }
            label = f"{name} {task}, batch {batch_size}"
            try:
                times = measure(base, head, cell, options.rounds)
            except ComparisonError as error:
                failed = 1
                _tell(f"{label:<40} {error}")
                continue
            ratios = [before / after for before, after in times]
            low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
            shown = (f"{median(side) * 1000:.1f}" for side in zip(*times, strict=True))
            _tell(_LINE.format(label, *shown, f"{median(ratios):.3f} x", f"{low:.3f} to {high:.3f}"))
    _tell("\n1.1 x: head does a tenth more in the same time; below 1 it is slower")
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare", description="Compare how fast networks are in two git revisions.", allow_abbrev=False
    )
    add = parser.add_argument
    add("base", metavar="BASE", help="a revision: a tag, a branch, a commit")
    add("head", metavar="HEAD", help=f"another, or {HERE} for this folder with all its changes")
    add("networks", metavar="NAME", nargs="*", default=["dat_tiny", "dat_pp_tiny"], help="of dat models")
    add("--task", type=_tasks, default=TASKS, help=f"one or more of {','.join(TASKS)} (batch 1); all if not given")
    add("--batch_size", type=_count, default=8)
    add("--image_size", type=_count, help="the network's own if not given")
    add("--precision", choices=["32", "bf16", "16"], default="32")
    add("--compile", action="store_true", help="compile the networks of both")
    add("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    add("--threads", type=_count)
    add("--rounds", type=_count, default=9)
    return parser


def _tasks(text: str) -> tuple[str, ...]:
    tasks = tuple(text.split(","))
    for task in tasks:
        if task not in TASKS:
            raise argparse.ArgumentTypeError(f"{task!r} is none of {', '.join(TASKS)}")
    return tasks


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _tell(line: str) -> None:
    """Print what is known already, for who watches and who stops it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
