"""Shares of attention as colour over a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dat_cli.data.geometry import View
from dat_cli.interpret.explanation import Cells
from dat_cli.interpret.pictures.canvas import LEFT, QUIET_TEXT, Sheet
from dat_cli.interpret.pictures.writing import inches
from dat_cli.report.canvas import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR_MAP = "plasma"
"""Even to the eye, for colour-blind eyes and in grey too."""

_WEAKEST, _STRONGEST = 0.1, 0.88  # opacity
_BAR = 1.6  # inches
_SEEN = 0.04  # of the strongest; cells with less are left as they are


def colours(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(..., 4), red, green, blue and opacity of values from 0 to 1; nothing is seen of what is near 0."""
    from matplotlib import colormaps

    values = np.clip(values, 0, 1)
    painted = np.array(colormaps[COLOUR_MAP](values))
    opacity = _WEAKEST + (_STRONGEST - _WEAKEST) * values**0.7
    painted[..., 3] = np.where(values < _SEEN, opacity * values / _SEEN, opacity)
    return painted


def outlines(cells: Cells, chosen: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """(N, 4, 2), the corners of the N cells that are chosen by a mask (H, W), in pixels."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * cells.step
    return within(cells.centres[chosen][:, None] + corners, view)


def within(corners: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """Corners (..., 2) held inside of what the network is given: the first cells of DAT++ are centred on its border."""
    return np.clip(corners, view.box[:2], view.box[2:])


def draw_cells(axes: Axes, cells: Cells, shares: npt.NDArray[Any], most: float, view: View) -> None:
    """Cells coloured by their share, outlined.

    Args:
        axes: The panel.
        cells: Where the cells lie.
        shares: (H, W).
        most: The share that is drawn in the strongest colour.
        view: What of the image the network is given.
    """
    from matplotlib.collections import PolyCollection

    values = shares / most if most > 0 else shares
    chosen = values >= _SEEN
    painted = colours(values[chosen])
    edges = np.concatenate([painted[:, :3], np.minimum(painted[:, 3:] + 0.1, 1)], axis=1)
    squares = PolyCollection(list(outlines(cells, chosen, view)), facecolors=painted, edgecolors=edges, linewidths=0.4)
    squares.set(zorder=1, gid="footprint")
    axes.add_collection(squares, autolim=False)


def explain_colours(sheet: Sheet, line: int, title: str, least: str, most: str) -> None:
    """A colour bar as a line of the legend, as the colours look over a light photograph."""
    y = sheet.line(line)
    start = LEFT + inches(title, 8, bold=True) + inches(least, 8) + 0.2
    for x, text, style in (
        (LEFT, title, {"weight": "bold", "color": INK}),
        (start - 0.06 - inches(least, 8), least, {"color": QUIET_TEXT}),
        (start + _BAR + 0.06, most, {"color": QUIET_TEXT}),
    ):
        sheet.write(x, y, text, **style)
    width, height = sheet.figure.get_size_inches()
    bar = sheet.figure.add_axes(((start / width), (y - 0.055) / height, _BAR / width, 0.11 / height), label="colours")
    ramp = colours(np.linspace(0, 1, 256))[None]
    ramp = ramp[..., :3] * ramp[..., 3:] + 0.9 * (1 - ramp[..., 3:])
    bar.imshow(ramp, aspect="auto", extent=(0, 1, 0, 1), interpolation="nearest")
    bar.set_axis_off()
