from __future__ import annotations

from collections import Counter

import pytest

from dat_cli.data.split import split_by_class


@pytest.mark.parametrize(
    ("count", "fraction", "held_out"),
    [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 3), (100, 0.2, 20), (5, 1, 5)],
)
def test_each_class_is_divided_by_the_fraction(count: int, fraction: float, held_out: int) -> None:
    names = [f"{label}/{index}" for label in range(3) for index in range(count)]
    labels = [label for label in range(3) for _ in range(count)]
    kept, out = split_by_class(names, labels, fraction, 0)
    assert sorted(kept + out) == list(range(3 * count))
    assert Counter(labels[i] for i in out) == Counter({label: held_out for label in range(3) if held_out})


def test_the_split_is_the_same_on_every_machine_and_in_any_order() -> None:
    names = [f"cat/{index}.jpg" for index in range(20)]
    _, out = split_by_class(names, [0] * 20, 0.2, 0)
    assert [names[i] for i in out] == ["cat/1.jpg", "cat/5.jpg", "cat/6.jpg", "cat/16.jpg"]
    _, backwards = split_by_class(names[::-1], [0] * 20, 0.2, 0)
    assert {names[::-1][i] for i in backwards} == {names[i] for i in out}


def test_another_seed_is_another_split() -> None:
    names = [str(index) for index in range(100)]
    assert split_by_class(names, [0] * 100, 0.2, 0) != split_by_class(names, [0] * 100, 0.2, 1)
