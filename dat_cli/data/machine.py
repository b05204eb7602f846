"""What the machine offers for loading data."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_WORKERS = 8  # more seldom help one network, and each holds memory
_FEW_IMAGES = 128  # are decoded sooner than workers start
_PREFETCH = 2  # batches that each worker holds ready, PyTorch's default
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps what processes share; only its size is read


def usable_cpus() -> int:
    """CPUs that this process may use, which in a container or job can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(images: int, batch_bytes: int, processes: int = 1) -> int:
    """How many processes should load data beside one that trains.

    Args:
        images: Number of files to load in an epoch; 0 where pictures are in memory.
        batch_bytes: Size of one batch.
        processes: Processes that train on this machine and share its CPUs.

    Returns:
        0 for a few images or a single CPU; otherwise one less than the CPUs, as many as shared memory has room
        for (containers often have little, and a worker that finds none is killed), and at most 8.
    """
    if images < _FEW_IMAGES:
        return 0
    by_cpus = usable_cpus() // processes - 1
    by_memory = _free_shared_memory() // (batch_bytes * (_PREFETCH + 1) * processes)
    return max(0, min(_MOST_WORKERS, by_cpus, by_memory))


def _free_shared_memory() -> int:
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except (OSError, AttributeError):  # not on this system: nothing is known to be scarce
        return 1 << 62
    return status.f_bavail * status.f_frsize
