"""A network does no more work than it did: counted, so that neither the machine nor its load decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.mark.parametrize("task", ["inference", "training"])
@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_a_call_does_what_it_did(name: str, task: str, operations: Any) -> None:
    made_with, stored = operations.read()
    if made_with != operations.made_with():
        pytest.skip(f"counted with {made_with}; {operations.made_with()} may divide the same work otherwise")
    moved = operations.differences(stored[f"{name} {task}"], operations.count(name, task))
    assert not moved, f"{name} {task}: {'; '.join(moved)}; if that is meant, or better, accept it: make operations"


def test_what_is_counted(operations: Any) -> None:
    given, weight = torch.rand(100, 10), torch.rand(20, 10)

    def call() -> torch.Tensor:
        hidden = (given @ weight.t()).relu()  # 100 x 20 each, both alive at once
        return hidden.mul_(2)

    counts = operations.count_call(call)
    assert counts.operators == {"mm": 1, "mul_": 1, "relu": 1, "t": 1}
    assert counts.calls == 4
    assert counts.flops == 2 * 100 * 10 * 20
    assert counts.written_bytes == 3 * 100 * 20 * 4  # a view writes nothing, and what is done in place writes
    assert counts.peak_bytes == 2 * 100 * 20 * 4


def test_memory_that_is_given_back_is_no_part_of_the_peak(operations: Any) -> None:
    def call() -> None:
        for _ in range(5):
            torch.zeros(1000).neg()

    assert operations.count_call(call).peak_bytes == 2 * 4000


def test_more_work_is_told_with_the_operators_that_do_it(operations: Any) -> None:
    before = operations.Counts(100, 10**9, 1000, 500, {"mm": 40, "add": 60})
    little = operations.Counts(102, 10**9, 1010, 505, {"mm": 40, "add": 62})
    much = operations.Counts(110, 10**9, 1400, 500, {"mm": 40, "add": 58, "clone": 12})
    wider = operations.Counts(100, 2 * 10**9, 1000, 500, {"mm": 40, "add": 60})
    assert operations.differences(before, little) == []
    assert operations.differences(before, much) == [
        "calls 100 -> 110 (+10.0%)",
        "written bytes 1,000 -> 1,400 (+40.0%)",
        "operators: clone 0 -> 12, add 60 -> 58",
    ]
    assert operations.differences(much, before)[0] == "calls 110 -> 100 (-9.1%)"
    assert operations.differences(before, wider)[-1] == (
        "operators: called as often as before, on larger or smaller tensors"
    )
