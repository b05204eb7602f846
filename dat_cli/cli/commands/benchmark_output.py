"""What ``dat benchmark`` shows: a table or JSON, and a plot."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dat_cli.benchmark.results import Cell, Machine, Measurement, Ratio
from dat_cli.cli.output import Column, print_json, print_table
from dat_cli.data.walk import printable

if TYPE_CHECKING:
    from dat_cli.benchmark.bounds import Bound, Loading
    from dat_cli.benchmark.pipeline import PipelineRate
    from dat_cli.report.costs import Cost

_MIB = 2**20

log = logging.getLogger("dat.benchmark")


@dataclass
class Output:
    """Collects cells, and shows them at the end.

    Attributes:
        machine: Where they are measured.
        format: ``table`` or ``json``.
        plot: A picture to draw as well.
        cells: What was measured so far.
        source: Of the images whose loading was measured.
        loading: What that gave.
    """

    machine: Machine
    format: Literal["table", "json"]
    plot: Path | None = None
    cells: list[Cell] = field(default_factory=list)
    source: str | None = None
    loading: list[Loading] = field(default_factory=list)

    def count(self) -> tuple[int, int]:
        """How many measurements could not be made, and how many were to be."""
        found = [measurement for cell in self.cells for measurement in cell.measurements]
        return sum(measurement.error is not None for measurement in found), len(found)

    def write(self) -> None:
        """Print, and draw if that is wanted; nothing where nothing was measured."""
        if not self.cells and not self.loading:
            return
        if self.format == "json":
            print_json(self.to_json())
        else:
            self._print_tables()
        if self.plot is not None:
            self._draw(self.plot)

    def to_json(self) -> dict[str, object]:
        """The whole result as plain types."""
        result: dict[str, object] = {"machine": asdict(self.machine), "cells": [asdict(cell) for cell in self.cells]}
        if self.source is None:
            return result
        bounds = [asdict(bound) for bound in self._bounds()]
        loading = [asdict(each) for each in self.loading]
        return {**result, "data": {"source": self.source, "loading": loading, "bounds": bounds}}

    def _print_tables(self) -> None:
        if self.loading:
            found = [[each.image_size, each.batch_size, *_of(rate)] for each in self.loading for rate in each.rates]
            print_table(_LOADING, found, title=f"loading of {printable(self.source or '')[:200]}")
        if self.cells:
            print_table(columns(self.cells), rows(self.cells), title=title(self.machine, self.cells))
        for bound in self._bounds():
            sys.stdout.write(f"{bound}\n")

    def _bounds(self) -> list[Bound]:
        if not self.loading:
            return []
        from dat_cli.benchmark.bounds import find_bounds  # Lightning, which nothing else here needs

        return find_bounds(self.cells, self.loading)

    def _draw(self, path: Path) -> None:
        from dat_cli.report.costs import draw_costs, save_costs

        figure = draw_costs(costs(self.cells))
        if figure is None:
            log.warning("%s is not drawn: that takes measurements at several sizes", path)
        else:
            save_costs(figure, path)
            log.info("drawn: %s", path)


def costs(cells: list[Cell]) -> list[Cost]:
    """What can be drawn."""
    from dat_cli.report.costs import Cost

    several = len({cell.conditions.precision for cell in cells}) > 1
    found = []
    for cell in cells:
        at = cell.conditions
        for each in cell.measurements:
            if each.ms_per_image is not None and each.peak_bytes is not None:
                form = each.form if each.form in ("reference", "eager") else ""
                how = "" if at.compile == "false" or each.form == "eager" else _COMPILE_WORDS[at.compile]
                precision = _name(at.precision) if several else ""
                way = ", ".join(word for word in (form, how, precision) if word)
                mib = each.peak_bytes / _MIB
                found.append(Cost(at.task, each.network, way, at.image_size, at.batch_size, each.ms_per_image, mib))
    return found


def title(machine: Machine, cells: list[Cell]) -> str:
    """The machine in a line, with the rate of its matrix product in each precision."""
    threads = f", {machine.threads} thread{'s' if machine.threads != 1 else ''}" if machine.device == "cpu" else ""
    best: dict[str, float] = {}
    for cell in cells:
        rate = max(cell.matmul_flops_per_s, default=0.0)
        precision = cell.conditions.precision
        best[precision] = max(best.get(precision, 0.0), rate)
    rates = ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {_name(precision)}" for precision, rate in best.items())
    return f"{machine.name or machine.device}{threads}, torch {machine.versions['torch']}; matrix product: {rates}"


def columns(cells: list[Cell]) -> list[Column]:
    """Titles of the table: one column for each that is compared with."""
    head = [
        Column("network"),
        Column("task"),
        Column("pixels"),
        Column("batch"),
        Column("precision"),
        Column("compiled"),
        Column("images/s", ".4g"),
        Column("ms/image", ".4g"),
        Column("MiB", ".0f"),
        Column("of them in the call", ".0f"),
        Column("of matmul (%)", ".1f"),
    ]
    return [*head, *(Column(f"x {_short(name)}") for name in _others(cells)), *_notes(cells)]


def rows(cells: list[Cell]) -> list[list[object]]:
    """One for each measurement."""
    others = _others(cells)
    noted = bool(_notes(cells))
    return [
        [
            found.label,
            cell.conditions.task,
            cell.conditions.image_size,
            cell.conditions.batch_size,
            _name(cell.conditions.precision),
            "no" if found.form == "eager" else _COMPILED.get(cell.conditions.compile, cell.conditions.compile),
            found.images_per_s,
            found.ms_per_image,
            None if found.peak_bytes is None else found.peak_bytes / _MIB,
            None if found.call_bytes is None else found.call_bytes / _MIB,
            None if found.share is None else 100 * found.share,
            *(_ratio(cell.ratios, found, other) for other in others),
            *([found.error] if noted else []),
        ]
        for cell in cells
        for found in cell.measurements
    ]


_COMPILED = {"false": "no", "true": "yes"}
_COMPILE_WORDS = {"true": "compiled", "reduce-overhead": "compiled (reduce-overhead)"}
_LOADING = [
    Column("pixels"),
    Column("batch"),
    Column("workers"),
    Column("images/s", ".4g"),
    Column("first batch (s)", ".2f"),
]


def _of(rate: PipelineRate) -> list[float]:
    return [rate.workers, rate.samples_per_s, rate.first_batch_s]


def _ratio(ratios: list[Ratio], found: Measurement, other: str) -> str | None:
    for ratio in ratios:
        if ratio.network == found.label and _kind(ratio.against) == other:
            return f"{ratio.speed.median:.2f} ({ratio.speed.low:.2f}-{ratio.speed.high:.2f})"
    return None


def _others(cells: list[Cell]) -> list[str]:
    return list(dict.fromkeys(_kind(ratio.against) for cell in cells for ratio in cell.ratios))


def _kind(label: str) -> str:
    """``reference`` or ``eager`` of whichever network, or the name of another."""
    return label.rpartition(" (")[2].rstrip(")")


def _short(name: str) -> str:
    return name.removeprefix("timm:")


def _name(precision: str) -> str:
    return {"32": "float32", "bf16": "bfloat16", "16": "float16"}[precision]


def _notes(cells: list[Cell]) -> list[Column]:
    failed = any(found.error is not None for cell in cells for found in cell.measurements)
    return [Column("note")] if failed else []
