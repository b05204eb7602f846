"""Two processes that take turns: each runs the networks of its own revision, and never both at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

from benchmarks.revisions import ComparisonError, Revision

_LEAST = 0.1  # seconds of a measurement, far above the resolution of clocks and the price of an order
_PATIENCE = 3  # seconds


def measure(base: Worker, head: Worker, cell: dict[str, Any], rounds: int) -> list[tuple[float, float]]:
    """Seconds of a call in base and in head, round by round; who goes first changes with each."""
    once = max(worker.ask({"cell": cell}) for worker in (base, head))
    order = {"calls": max(1, ceil(_LEAST / once))}
    times = []
    for index in range(rounds):
        if index % 2:
            after = head.ask(order)
            times.append((base.ask(order), after))
        else:
            before = base.ask(order)
            times.append((before, head.ask(order)))
    return times


class Worker:
    """The process of one revision; used in a ``with`` block, which ends it."""

    def __init__(self, revision: Revision) -> None:
        self._revision = revision
        self._process = subprocess.Popen(  # noqa: S603 - our own file, without a shell
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(revision.folder)],
            env={**os.environ, "PYTHONPATH": str(revision.folder), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl+C is for the one that waits
        )
        self._orders, self._answers = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)

    def ask(self, order: dict[str, Any]) -> float:
        """Seconds of a call.

        Raises:
            ComparisonError: The revision cannot do it.
        """
        with suppress(BrokenPipeError):  # that it has ended is found out below
            self._orders.write(f"{json.dumps(order)}\n")
            self._orders.flush()
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": f"its process ended with {self._process.wait()}"}
        if "error" in answer:
            raise ComparisonError(f"{self._revision.name}: {answer['error']}")
        return float(answer["seconds"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with suppress(BrokenPipeError):
            self._orders.close()  # it ends by itself, with the processes that compile for it
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # it computes
            self._process.kill()
            self._process.wait()
        self._answers.close()
