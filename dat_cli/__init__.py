"""Deformable Attention Transformers (DAT, DAT++): train, measure and predict from one command.

Importing this package is instant; the public names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dat_cli.catalog import list_models
    from dat_cli.interpret.explain import explain
    from dat_cli.models import create_model
    from dat_cli.run.load import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "create_model", "explain", "list_models", "load_model"]

_HOME = {
    "create_model": "dat_cli.models",
    "explain": "dat_cli.interpret.explain",
    "list_models": "dat_cli.catalog",
    "load_model": "dat_cli.run.load",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module it lives in (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
