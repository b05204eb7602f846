"""Measuring in turns: in each round everything runs once, so that what slows the machine down slows all of it down."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

ENOUGH = 0.5
"""Seconds that one timing takes at least; quicker calls are repeated.

So the first call, which finds the data of other networks in the caches, hardly counts.
"""


class Clock:
    """Times calls on a device; on a GPU until it has done what it was given.

    Args:
        device: Where the calls compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Mean seconds of so many calls in a row."""
        with _no_collection():
            self.finish()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            self.finish()
            return (time.perf_counter() - start) / calls

    def finish(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def enough_calls(seconds: float) -> int:
    """How many calls of so many seconds make a timing that is long enough."""
    return max(1, math.ceil(ENOUGH / max(seconds, 1e-7)))


def take_turns(measures: Sequence[Callable[[], float]], rounds: int) -> tuple[list[list[float]], BaseException | None]:
    """Run each measure once in each round, forwards and backwards in turns.

    Args:
        measures: Each returns its number.
        rounds: How many.

    Returns:
        The numbers of each measure in the rounds that were completed, and what ended them early: Ctrl+C or SIGTERM.
    """
    found: list[list[float]] = [[] for _ in measures]
    for number in range(rounds):
        order = range(len(measures)) if number % 2 == 0 else reversed(range(len(measures)))
        try:
            numbers = {index: measures[index]() for index in order}
        except (KeyboardInterrupt, SystemExit) as stop:
            return found, stop
        for index, values in enumerate(found):
            values.append(numbers[index])
    return found, None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let Python look for garbage before and after, as its own ``timeit`` does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
