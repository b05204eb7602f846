"""How a training went: losses, accuracy and learning rate by epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dat_cli.report.canvas import BLUE, ORANGE, PURPLE, QUIET, TEAL, as_svg, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = "metrics.csv"

Curves = dict[str, npt.NDArray[np.float64]]

_MARKED = 12  # epochs; fewer are shown as points too


class _Line(NamedTuple):
    column: str
    label: str
    colour: str
    style: str = "-"


class _Panel(NamedTuple):
    title: str
    lines: tuple[_Line, ...]
    percent: bool = False


_PANELS = (
    _Panel("Loss", (_Line("train_loss", "training", BLUE), _Line("val_loss", "validation", ORANGE))),
    _Panel(
        "Accuracy on validation images",
        (
            _Line("val_acc1", "top-1", TEAL),
            _Line("val_acc5", "top-5", TEAL, ":"),
            _Line("val_f1", "macro F1", PURPLE, "--"),
        ),
        percent=True,
    ),
    _Panel("Learning rate", (_Line("lr", "", QUIET),)),
)


def read_curves(folder: Path) -> Curves:
    """Columns of ``metrics.csv``, with NaN where a value is missing; empty without a row."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if _number(row.get("epoch")) == _number(row.get("epoch"))]
    names = [name for name in (rows[0] if rows else {}) if name]
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def best_row(curves: Curves) -> int | None:
    """Index of the epoch with the best validation, whose weights are kept; None without any."""
    accuracy = curves.get("val_acc1")
    if accuracy is None or np.isnan(accuracy).all():
        return None
    loss = np.nan_to_num(curves.get("val_loss", np.zeros_like(accuracy)), nan=np.inf)
    return int(np.lexsort((loss, -np.nan_to_num(accuracy, nan=-1.0)))[0])


def draw_curves(curves: Curves) -> list[str]:
    """Each panel as an SVG of its own, for a page that arranges them."""
    return [_draw([panel], curves, (4.2, 2.9)) for panel in _PANELS if _known(panel, curves)]


def draw_all_curves(curves: Curves) -> str | None:
    """All panels as one SVG; None without a row."""
    panels = [panel for panel in _PANELS if _known(panel, curves)]
    return _draw(panels, curves, (4.2 * len(panels), 3.0)) if panels else None


def _draw(panels: Sequence[_Panel], curves: Curves, size: tuple[float, float]) -> str:
    from matplotlib.figure import Figure

    with drawing(f"curves {[panel.title for panel in panels]}"):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, place in zip(panels, axes, strict=True):
            _draw_panel(panel, curves, place)
        return as_svg(figure)


def _draw_panel(panel: _Panel, curves: Curves, axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = curves["epoch"]
    options: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(epochs) <= _MARKED else {}
    for line in panel.lines:
        if line.column in curves and not np.isnan(curves[line.column]).all():
            known = ~np.isnan(curves[line.column])
            values = curves[line.column][known]
            axes.plot(epochs[known], values, line.style, color=line.colour, label=line.label, **options)
    best = best_row(curves)
    if panel.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(top=min(1.02, axes.get_ylim()[1]))
        if best is not None:
            axes.plot(epochs[best], curves["val_acc1"][best], "o", color=TEAL, markersize=7, zorder=5)
    if best is not None and len(epochs) > 1 and panel.title != "Learning rate":
        axes.axvline(epochs[best], color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
    axes.set_title(panel.title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    if len(panel.lines) > 1:
        axes.legend()
    if panel.title == "Learning rate":
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def _known(panel: _Panel, curves: Curves) -> bool:
    return any(line.column in curves and not np.isnan(curves[line.column]).all() for line in panel.lines)


def _number(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")
