"""Randomness as a function of what it is for."""

from __future__ import annotations

import random

import numpy as np
import torch

from dat_cli.data.randomness import seed_of, seeded


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002 - what augmentations use


def test_a_seed_gives_the_same_draws_whatever_was_drawn_before() -> None:
    with seeded(5):
        first = draws()
    draws()
    with seeded(5):
        assert draws() == first
    with seeded(6):
        assert all(mine != other for mine, other in zip(draws(), first, strict=True))


def test_the_generators_around_it_go_on_as_if_nothing_had_been_drawn() -> None:
    with seeded(1):
        expected = [draws(), draws()]
    with seeded(1):
        found = [draws()]
        with seeded(9):
            draws()
        found.append(draws())
    assert found == expected


def test_parts_of_a_seed_do_not_run_into_each_other() -> None:
    seeds = [seed_of(1, 23), seed_of(12, 3), seed_of(1, 2, 3), seed_of("order", 1), seed_of(1, "order")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
