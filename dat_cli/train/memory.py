"""How much memory a CPU has to give: it does not say when it is full, the system ends the process."""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

_MACHINE, _CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that this process may still take, of the machine and of the container that it runs in."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # where the system says no more than this
    with suppress(OSError):
        if found := re.search(r"MemAvailable:\s+(\d+) kB", _MACHINE.read_text(encoding="ascii")):
            free = int(found[1]) * 1024
    with suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit = int((_CONTAINER / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((_CONTAINER / "memory.current").read_text(encoding="ascii")))
    return max(free, 0)


def most_used() -> int:
    """Bytes that this process has held at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
