"""Randomness as a function of what it is for, not of what was drawn before.

A picture is augmented by a seed of its own, made of the run's seed, the epoch and its place in the epoch. So the
result does not depend on how many processes load, and a run that goes on in the middle of an epoch has no generator
to restore.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2^32) that depends on all parts; neighbouring ones have nothing in common."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from generators of Python, NumPy and PyTorch (on the CPU) that start from a seed; then go on as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - what augmentations use
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would reset the GPUs too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
