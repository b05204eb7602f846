"""Everything is timed once in each round, so that a busy machine slows all of it down."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dat_cli.benchmark.results import Spread
from dat_cli.benchmark.rounds import ENOUGH, Clock, enough_calls, take_turns


def _telling(order: list[str], names: str) -> list[Callable[[], float]]:
    def measure(name: str) -> Callable[[], float]:
        def call() -> float:
            order.append(name)
            return float(len(order))

        return call

    return [measure(name) for name in names]


def test_the_order_turns_round_with_every_round() -> None:
    order: list[str] = []
    numbers, stop = take_turns(_telling(order, "abc"), 3)
    assert "".join(order) == "abccbaabc"
    assert numbers == [[1.0, 6.0, 7.0], [2.0, 5.0, 8.0], [3.0, 4.0, 9.0]]
    assert stop is None


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_a_round_that_is_interrupted_counts_for_none(stop: BaseException) -> None:
    def interrupted() -> float:
        calls.append(1)
        if len(calls) == 2:
            raise stop
        return 0.0

    order: list[str] = []
    calls: list[int] = []
    numbers, why = take_turns([*_telling(order, "ab"), interrupted], 5)
    assert [len(each) for each in numbers] == [1, 1, 1]
    assert why is stop


def test_quick_calls_are_repeated() -> None:
    assert enough_calls(2 * ENOUGH) == 1
    assert enough_calls(ENOUGH / 9.5) == 10
    calls: list[int] = []
    Clock(torch.device("cpu")).seconds(lambda: calls.append(1), 7)
    assert len(calls) == 7


def test_half_of_the_rounds_lie_between_the_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)
