"""The environment's choice of the arithmetic, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def answer(arithmetic: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from dat_cli.ops.setting import is_reference; print(is_reference())"]
    environment = {**os.environ, "DAT_ARITHMETIC": arithmetic}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("arithmetic", "plain"), [("", False), ("fast", False), ("reference", True)])
def test_the_environment_chooses_the_arithmetic(arithmetic: str, plain: bool) -> None:
    assert answer(arithmetic).stdout.strip() == str(plain)


def test_an_unknown_arithmetic_is_an_error_and_not_the_fast_one() -> None:
    failed = answer("refrence")
    assert failed.returncode
    assert "DAT_ARITHMETIC is 'refrence'; set it to reference" in failed.stderr
