from __future__ import annotations

import os

import pytest

from dat_cli.data import machine


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: 6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process")
def test_only_usable_cpus_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.usable_cpus() == 1
        assert machine.default_workers(10_000, 1) == 0
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("cpus")
@pytest.mark.parametrize(("images", "processes", "workers"), [(0, 1, 0), (100, 1, 0), (9999, 1, 5), (9999, 2, 2)])
def test_workers_suit_images_and_cpus(images: int, processes: int, workers: int) -> None:
    assert machine.default_workers(images, 1, processes) == workers


@pytest.mark.usefixtures("cpus")
def test_workers_fit_into_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_free_shared_memory", lambda: 64 << 20)
    assert machine.default_workers(9999, 10 << 20) == 2
    assert machine.default_workers(9999, 100 << 20) == 0


def test_workers_are_never_more_than_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: 128)
    assert machine.default_workers(9999, 1) == 8
