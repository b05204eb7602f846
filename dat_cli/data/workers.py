"""Processes that load data while a training that was asked to stop finishes its step."""

from __future__ import annotations

import signal
import threading

OUTLIVE = 60  # seconds for which they go on after a SIGTERM


def outlive_signals(worker: int = 0) -> None:  # noqa: ARG001 - the signature of PyTorch's worker_init_fn
    """Leave it to the process that trains to answer signals: a job's reach all of its processes at once.

    A worker ends when that process does, and some time after a SIGTERM in any case: PyTorch sends one to a worker that
    does not end by itself. PyTorch's own handler ends a worker at once.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(OUTLIVE) and None)
