"""Which pictures make which batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from dat_cli.data.order import NOTHING, Draw, EvaluationOrder, Sampling, Share, TrainingOrder
from dat_cli.errors import DataError

LABELS = [0] * 20 + [1] * 3


ALONE = Share()


def training(
    epoch: int = 0, start: int = 0, *, size: int = 4, share: Share = ALONE, sampling: Sampling = "uniform"
) -> list[list[Draw]]:
    order = TrainingOrder(LABELS, size, seed=1, share=share, sampling=sampling)
    order.begin(epoch, start)
    return list(order)


def samples(batches: Iterable[list[Draw]]) -> list[int]:
    return [draw.sample for batch in batches for draw in batch]


def test_an_epoch_takes_each_picture_once_but_for_the_last_few() -> None:
    batches = training()
    assert [len(batch) for batch in batches] == [4] * 5
    assert len(set(samples(batches))) == 20


def test_each_epoch_has_an_order_and_seeds_of_its_own_and_always_the_same() -> None:
    first, second = training(epoch=0), training(epoch=1)
    assert first == training(epoch=0)
    assert samples(first) != samples(second)
    seeds = [draw.seed for batch in first + second for draw in batch]
    assert len(set(seeds)) == len(seeds)


def test_an_epoch_goes_on_from_any_batch() -> None:
    assert training(epoch=3, start=2) == training(epoch=3)[2:]


@pytest.mark.parametrize("world", [2, 5])
def test_processes_see_together_what_one_with_a_larger_batch_sees(world: int) -> None:
    alone = training(size=2 * world)
    shares = [training(size=2, share=Share(rank, world)) for rank in range(world)]
    together = [[draw for batch in step for draw in batch] for step in zip(*shares, strict=True)]
    assert together == alone


def test_fewer_pictures_than_a_step_takes_make_one_smaller_step() -> None:
    shares = [training(size=32, share=Share(rank, 2)) for rank in range(2)]
    assert [len(batches) for batches in shares] == [1, 1]
    assert len(set(samples(shares[0] + shares[1]))) == 22


def test_fewer_pictures_than_processes_are_an_error() -> None:
    with pytest.raises(DataError, match="23 training images for 24 processes"):
        TrainingOrder(LABELS, 4, seed=0, share=Share(0, 24))


def test_balanced_sampling_draws_rare_classes_as_often_as_frequent_ones() -> None:
    drawn = Counter(
        LABELS[draw.sample] for epoch in range(100) for batch in training(epoch, sampling="balanced") for draw in batch
    )
    assert drawn[1] / drawn.total() == pytest.approx(0.5, abs=0.04)
    assert {
        draw.sample for epoch in range(30) for batch in training(epoch, sampling="balanced") for draw in batch
    } == set(range(23))


@pytest.mark.parametrize(("count", "world", "size"), [(7, 2, 3), (7, 2, 32), (1, 3, 2), (8, 4, 2), (5, 1, 2)])
def test_an_evaluation_takes_each_picture_once_in_equally_many_batches(count: int, world: int, size: int) -> None:
    orders = [EvaluationOrder(count, size, share=Share(rank, world)) for rank in range(world)]
    shares = [list(order) for order in orders]
    taken = [sample for share in shares for sample in samples(share) if sample != NOTHING]
    assert sorted(taken) == list(range(count))
    assert {tuple(map(len, share)) for share in shares} == {tuple(map(len, shares[0]))}
    assert [len(order) for order in orders] == [len(share) for share in shares]


def test_one_process_needs_no_padding() -> None:
    order = EvaluationOrder(5, 2, share=Share())
    assert [samples([batch]) for batch in order] == [[0, 1], [2, 3], [4]]
