"""What the tests of this folder share."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def operations() -> Any:
    """The module that counts operators."""
    spec = spec_from_file_location("count", Path(__file__).with_name("count.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
