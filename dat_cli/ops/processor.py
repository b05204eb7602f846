"""Which processor this is, where that decides what is fast; of Linux alone."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")
_ZEN_5 = 26


def is_of_intel() -> bool:
    """Whether it is Intel's: on others MKL is slower than oneDNN."""
    return _maker_and_family()[0] == "GenuineIntel"


def is_of_amd_since_zen_5() -> bool:
    """Whether it is AMD's, Zen 5 or newer: oneDNN measured more than twice as fast as MKL there, and hardly before."""
    maker, family = _maker_and_family()
    return maker == "AuthenticAMD" and family >= _ZEN_5


@lru_cache(maxsize=1)
def _maker_and_family() -> tuple[str, int]:
    beginning = b""
    with suppress(OSError), _FACTS.open("rb") as file:
        beginning = file.read(4096)
    maker = re.search(rb"^vendor_id\s*: (\w+)", beginning, re.MULTILINE)
    family = re.search(rb"^cpu family\s*: (\d+)", beginning, re.MULTILINE)
    return maker[1].decode() if maker else "", int(family[1]) if family else 0
