"""What a call of several networks costs in time and memory, against the size of images and of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dat_cli.report.canvas import BLUE, ORANGE, PURPLE, RED, TEAL, alone, as_svg, drawing, short
from dat_cli.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, TEAL, PURPLE, RED)
_STYLES = ("-", ":", "--", "-.")
_DPI = 200
_MARGIN = 1.4  # factor below the lowest and above the highest value: there is always a number beside the axis


@dataclass(frozen=True)
class Cost:
    """One measurement.

    Attributes:
        task: What was done; each has panels of its own.
        network: Has a colour.
        way: In which it ran; has a style of line.
        image_size: Pixels of a side.
        batch_size: Images in a call.
        ms_per_image: Milliseconds.
        mib: Peak memory in MiB; above 0.
    """

    task: str
    network: str
    way: str
    image_size: int
    batch_size: int
    ms_per_image: float
    mib: float


class _Panel(NamedTuple):
    title: str
    label: str
    x: Callable[[Cost], int]
    y: Callable[[Cost], float]


def draw_costs(costs: Sequence[Cost]) -> Figure | None:
    """A row of panels for each task: against image size for the smallest batch, and against batch size for the
    smallest images, each only where there are several; None where nothing can be drawn.
    """
    tasks = list(dict.fromkeys(cost.task for cost in costs))
    found = [(task, panel, chosen) for task in tasks for panel, chosen in _panels(costs, task)]
    if not found:
        return None
    from matplotlib.figure import Figure

    across = len(found) // len({task for task, *_ in found})
    down = -(-len(found) // across)
    lines = list(dict.fromkeys((cost.network, cost.way) for cost in costs))
    with drawing("costs"):
        figure = Figure(figsize=(3.6 * across, 3.0 * down + 0.2 + 0.2 * len(lines)), layout="constrained")
        places = figure.subplots(down, across, squeeze=False).flat
        for place, (task, panel, chosen) in zip(places, found, strict=False):
            _draw(place, f"{task}, {panel.title}", panel, chosen, lines)
        handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
        figure.legend(handles=list(handles.values()), loc="outside lower left", ncols=1)
    return figure


def save_costs(figure: Figure, path: Path) -> None:
    """Write the figure as PNG or SVG by the ending of its name; whole or not at all."""
    with drawing("costs"), whole_file(path) as place:
        if path.suffix.lower() == ".svg":
            place.write_text(alone(as_svg(figure)), encoding="utf-8")
        else:
            figure.savefig(place, format="png", dpi=_DPI, facecolor="white")


def _panels(costs: Sequence[Cost], task: str) -> list[tuple[_Panel, list[Cost]]]:
    ours = [cost for cost in costs if cost.task == task]
    batch, size = min(cost.batch_size for cost in ours), min(cost.image_size for cost in ours)
    by_size = [cost for cost in ours if cost.batch_size == batch]
    by_batch = [cost for cost in ours if cost.image_size == size]
    found = []
    for chosen, x, label, where in (
        (by_size, _image_size, "image size in pixels", f"batch size {batch}"),
        (by_batch, _batch_size, "batch size", f"{size} pixels"),
    ):
        if len({x(cost) for cost in chosen}) > 1:
            found.append((_Panel(f"{where}: ms an image", label, x, lambda cost: cost.ms_per_image), chosen))
            found.append((_Panel(f"{where}: MiB", label, x, lambda cost: cost.mib), chosen))
    return found


def _draw(axes: Axes, title: str, panel: _Panel, costs: Sequence[Cost], lines: list[tuple[str, str]]) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    networks, ways = (list(dict.fromkeys(values)) for values in zip(*lines, strict=True))
    for network, way in lines:
        points = sorted((panel.x(cost), panel.y(cost)) for cost in costs if (cost.network, cost.way) == (network, way))
        if points:
            axes.plot(
                *zip(*points, strict=True),
                _STYLES[ways.index(way) % len(_STYLES)],
                color=_COLOURS[networks.index(network) % len(_COLOURS)],
                marker="o",
                markersize=3.5,
                label=", ".join(short(word, 40) for word in (network, way) if word),
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel(panel.label)
    axes.xaxis.set_major_locator(FixedLocator(sorted({panel.x(cost) for cost in costs})))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = (pick(panel.y(cost) for cost in costs) for pick in (min, max))
    axes.set_ylim(low / _MARGIN, high * _MARGIN)
    wide = high > 30 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid()
    axes.tick_params(length=0)


def _image_size(cost: Cost) -> int:
    return cost.image_size


def _batch_size(cost: Cost) -> int:
    return cost.batch_size
