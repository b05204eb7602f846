"""How networks are made ready to be timed."""

from __future__ import annotations

import pytest
import torch
from torch._inductor import config

from dat_cli.benchmark.prepare import _frozen
from dat_cli.benchmark.results import Compile, Conditions, Task


@pytest.mark.parametrize(
    ("task", "how", "frozen"),
    [("inference", "true", True), ("inference", "false", False), ("training", "true", False)],
)
def test_what_is_compiled_for_inference_on_a_cpu_takes_weights_for_constant(
    task: Task, how: Compile, frozen: bool
) -> None:
    with _frozen(Conditions(task, 224, 1, "32", how), torch.device("cpu")):
        assert config.freezing == frozen
    assert not config.freezing
