"""The peak of what tensors hold during one call: exact, on every system, whatever the process did before."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def call_bytes(call: Callable[[], None], device: torch.device) -> int:
    """Most bytes that tensors held at one time during a call, beyond those that were there before it.

    On a GPU by PyTorch's own count of what it has given out. On a CPU by the profiler's list of what was taken and
    given back: it is complete for compiled code too, but does not know what oneDNN takes for itself.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return max(torch.cuda.max_memory_allocated(device) - before, 0)
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # it would tell on stderr that it has begun and ended
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):  # giving back what was there before counts as 0
        held += event.nbytes()
        most = max(most, held)
    return most
