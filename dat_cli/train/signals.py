"""Requests to stop that come from outside: noted where stopping in good order is possible, obeyed at once elsewhere."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from dat_cli.data.workers import OUTLIVE, outlive_signals
from dat_cli.train import slurm

STOPPED_BY = (signal.SIGUSR1, signal.SIGINT, signal.SIGTERM) if hasattr(signal, "SIGUSR1") else (signal.SIGINT,)
"""In the order in which one counts more than another where processes were told different things."""
SAME_REQUEST = 1.0  # seconds; Ctrl+C reaches a process of torchrun from the terminal and from its launcher

_INTERRUPTED, _TERMINATED = 130, 143  # 128 + signal, as a shell says it


class Signals:
    """Handlers of SIGTERM, SIGINT and SIGUSR1, the signal that Slurm can send ahead of a time limit.

    While ``noting``, the first signal is only noted in ``asked``, and a second one is obeyed; otherwise the first is.
    """

    def __init__(self) -> None:
        self.noting = False
        self.asked = 0
        self._when = 0.0
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over; in another thread than the main one, signals are somebody else's."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in STOPPED_BY}

    def restore(self) -> None:
        """Give back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def finish(self) -> None:
        """Obey a request that came when all was done but the words about it.

        Raises:
            SystemExit: There was one.
        """
        self.noting = False
        if self.asked:
            self.obey(self.asked, finished=True)

    def obey(self, asked: int, *, finished: bool = False) -> NoReturn:
        """Stop now: under Slurm, a job that was not stopped by hand goes back into the queue.

        Args:
            asked: As in ``asked``: one more than the place in ``STOPPED_BY``.
            finished: There is nothing left to do, so that the job need not come again.

        Raises:
            SystemExit: Always, with the code that a shell gives to the signal.
        """
        by_hand = STOPPED_BY[asked - 1] is signal.SIGINT
        if not by_hand and not finished:
            slurm.requeue()
        raise SystemExit(_INTERRUPTED if by_hand else _TERMINATED)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a worker that has just begun; what comes later is its own to answer
            outlive_signals()
            if number == signal.SIGTERM:
                signal.alarm(OUTLIVE)
            return
        now, first = time.monotonic(), not self.asked
        if not first and now - self._when < SAME_REQUEST:
            return
        if first:
            self.asked, self._when = 1 + STOPPED_BY.index(signal.Signals(number)), now
        if not (self.noting and first):
            self.obey(1 + STOPPED_BY.index(signal.Signals(number)))
        _say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint; once more to stop at once")


def _say(line: str) -> None:
    """Write past all buffers: the signal may have come in the middle of another line."""
    if all(os.environ.get(name, "0") in ("", "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")):
        with suppress(OSError):
            os.write(2, f"dat: {line}\n".encode())
