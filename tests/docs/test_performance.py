"""The script that fills the page on performance."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from dat_cli.benchmark.results import Cell, Conditions, Ratio, Spread

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "examples" / "performance.py"))


def cell(batch: int, ratio: Ratio, size: int = 224, task: Any = "inference") -> Cell:
    return Cell(Conditions(task, size, batch, "32", "false"), None, [], [], [ratio])


def test_a_target_beside_what_was_measured(script: dict[str, Any]) -> None:
    faster = Ratio("dat_tiny", script["SWIN"], Spread(1.25, 1.0, 2.0), 0.9)
    smaller = Ratio("dat_pp_tiny", "dat_pp_tiny (reference)", Spread(3.0, 3.0, 3.0), 0.25)
    cells = [cell(1, faster), cell(2, smaller, 1024, "training")]
    rows = {row[0]: row for row in script["target_rows"](script["CPU_TARGETS"], cells)}
    assert rows["DAT-T, latency at batch 1"][2:] == ["at most 1 x", "0.80 (0.50-1.00)"]
    assert rows["DAT-T, inference, batch 8, speed"][3] == "not measured"
    rows = {row[0]: row for row in script["target_rows"](script["GPU_TARGETS"], cells)}
    assert rows["DAT++-T, 1024 pixels, training, batch 2, memory"][1:] == ["reference", "at most 0.5 x", "0.25"]


def test_every_target_is_among_what_is_measured(script: dict[str, Any]) -> None:
    for device, targets in script["TARGETS"].items():
        plans = list(script["plans"](device))
        for target in targets:
            assert any(
                target.task in plan.tasks
                and target.image_size in plan.image_sizes
                and target.batch_size in plan.batch_sizes
                and target.compile in plan.compiles
                and target.against in plan.against
                and set(target.networks) <= set(plan.networks)
                for plan in plans
            ), target


def test_a_device_has_its_own_part_of_the_page(script: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    before, after = (f"<!-- {word} of what was measured on cpu -->" for word in ("begin", "end"))
    for text in ("new \\1", "newer"):
        script["write_part"](page, "cpu", text)
    written, shown = page.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")
    assert f"{before}\nnewer\n{after}" in written
    assert written.partition(before)[0] == shown.partition(before)[0]
    assert written.partition(after)[2] == shown.partition(after)[2]
