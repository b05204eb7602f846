"""The one setting of the arithmetic: the fast paths, or the plain form that they are checked against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dat_cli.errors import UsageError

_ARITHMETICS = {"": False, "fast": False, "reference": True}


def _is_asked_for() -> bool:
    asked = os.environ.get("DAT_ARITHMETIC", "")
    if asked not in _ARITHMETICS:
        raise UsageError(
            f"DAT_ARITHMETIC is {asked!r}", hint="set it to reference, or to fast, which is what it is unset"
        )
    return _ARITHMETICS[asked]


_plain = _is_asked_for()


def is_reference() -> bool:
    """Whether the plain arithmetic is to be used."""
    return _plain


@contextmanager
def reference(enabled: bool = True) -> Iterator[None]:
    """Use the plain arithmetic inside the ``with`` block (all threads of the process)."""
    global _plain  # torch.compile guards on a module's global, but not on a ContextVar
    before, _plain = _plain, enabled
    try:
        yield
    finally:
        _plain = before
