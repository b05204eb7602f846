"""The peak of one call, to the byte."""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.benchmark.memory import call_bytes

CPU = torch.device("cpu")
KIB = 256  # float32 numbers


def test_the_most_that_was_held_at_one_time() -> None:
    def call() -> None:
        first = torch.empty(8 * KIB)
        second = torch.empty(4 * KIB)
        del first
        third = torch.empty(2 * KIB)
        del second, third

    assert call_bytes(call, CPU) == 12 * 1024


def test_what_was_there_before_does_not_count_even_if_it_is_given_back() -> None:
    def call() -> None:
        before.clear()
        torch.empty(2 * KIB)

    before: list[Tensor] = [torch.empty(64 * KIB)]
    assert call_bytes(call, CPU) == 2 * 1024


def test_a_second_call_takes_what_the_first_took() -> None:
    layer = torch.nn.Linear(64, 4 * KIB)
    images = torch.randn(16, 64)

    def call() -> None:
        layer(images).sum().backward()
        layer.zero_grad()

    found = [call_bytes(call, CPU) for _ in range(2)]
    assert found[0] == found[1] > 16 * 4 * KIB * 4
