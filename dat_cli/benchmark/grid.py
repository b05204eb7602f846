"""All conditions that were asked for, one after another, and at each of them all networks in turns."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

import torch

from dat_cli.benchmark.machine import MatrixProduct
from dat_cli.benchmark.prepare import give_back, prepare
from dat_cli.benchmark.results import Cell, Compile, Conditions, Measurement, Precision, Ratio, Spread, Task
from dat_cli.benchmark.rounds import take_turns
from dat_cli.benchmark.subjects import TIMM, Subject
from dat_cli.benchmark.work import DTYPES
from dat_cli.ops.kept import constant_weights

log = logging.getLogger("dat.benchmark")


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        networks: Names of variants, or ``timm:`` and a name of timm's.
        against: What each is compared with: ``reference``, ``eager``, or such a name.
        tasks: Of the conditions, as all that follow.
        image_sizes: In pixels.
        batch_sizes: Images in a call.
        precisions: Of the numbers.
        compiles: How, or not at all.
        rounds: Timings of each network at each condition.
        warmup: Calls before them, beside the first.
        device: Where.
    """

    networks: tuple[str, ...]
    against: tuple[str, ...]
    tasks: tuple[Task, ...]
    image_sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    precisions: tuple[Precision, ...]
    compiles: tuple[Compile, ...]
    rounds: int
    warmup: int
    device: torch.device

    def conditions(self) -> list[Conditions]:
        """All of them; those that are read together follow one another."""
        axes = (self.precisions, self.compiles, self.tasks, self.image_sizes, self.batch_sizes)
        return [Conditions(task, size, batch, precision, how) for precision, how, task, size, batch in product(*axes)]


def measure(plan: Plan) -> Iterator[Cell]:
    """Measure one cell after another.

    Raises:
        KeyboardInterrupt: By Ctrl+C, after what was measured of the current cell.
        SystemExit: By SIGTERM, the same.
    """
    for conditions in plan.conditions():
        with constant_weights() if conditions.task == "inference" else nullcontext():  # as prediction has them
            cell, stop = _measure_cell(plan, conditions)
        give_back(plan.device)
        if cell is not None:
            yield cell
        if stop is not None:
            raise stop


def pairs(plan: Plan, conditions: Conditions) -> list[tuple[Subject, Subject]]:
    """Each network with all that it is compared with."""
    found = []
    for name, other in product(plan.networks, plan.against):
        if other == "reference":
            against = None if name.startswith(TIMM) else Subject(name, plain=True)
        elif other == "eager":
            against = None if conditions.compile == "false" else Subject(name, eager=True)
        else:
            against = None if other == name else Subject(other)
        if against is not None:
            found.append((Subject(name), against))
    return found


def _measure_cell(plan: Plan, conditions: Conditions) -> tuple[Cell | None, BaseException | None]:
    compared = pairs(plan, conditions)
    subjects = list(dict.fromkeys([*map(Subject, plan.networks), *(against for _, against in compared)]))
    log.info("%s: %d network%s", conditions, len(subjects), "s" if len(subjects) > 1 else "")
    if conditions.compile != "false":
        torch.compiler.reset()  # what was compiled for other sizes would be made to fit all sizes
    # First, so that networks find the room that is left beside its matrices, as in the rounds.
    multiply = MatrixProduct(plan.device, DTYPES[conditions.precision])
    prepared = [prepare(subject, conditions, plan.warmup, plan.device) for subject in subjects]
    ready = [each for each in prepared if each.error is None]
    (*times, rates), stop = take_turns([*(each.seconds for each in ready), multiply.rate], plan.rounds)
    if stop is not None and not rates:
        return None, stop
    for each, seconds in zip(ready, times, strict=True):
        each.times = seconds
    found = {each.subject: each.measurement(rates) for each in prepared}
    return Cell(conditions, multiply.size, rates, list(found.values()), _ratios(compared, found)), stop


def _ratios(compared: list[tuple[Subject, Subject]], found: dict[Subject, Measurement]) -> list[Ratio]:
    ratios = []
    for one, other in ((found[subject], found[against]) for subject, against in compared):
        if one.error is None and other.error is None:
            speed = [theirs / ours for ours, theirs in zip(one.seconds, other.seconds, strict=True)]
            memory = one.peak_bytes / other.peak_bytes if one.peak_bytes and other.peak_bytes else None
            ratios.append(Ratio(one.label, other.label, Spread.of(speed), memory))
    return ratios
