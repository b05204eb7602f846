"""The one setting of the arithmetic: the fast paths, or the plain form that they are checked against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_plain = os.environ.get("DAT_ARITHMETIC") == "reference"


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
