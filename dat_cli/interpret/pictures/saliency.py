"""Where the evidence lies: attention rolled back to the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dat_cli.interpret.explanation import Array, Explanation
from dat_cli.interpret.pictures.canvas import Sheet
from dat_cli.interpret.pictures.heat import colours, explain_colours
from dat_cli.interpret.pictures.layout import new_sheet
from dat_cli.report.canvas import drawing, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 99.5  # percentile that is drawn in the strongest colour; one cell shall not darken all others


def draw_saliency(explanation: Explanation, photo: Image.Image, *, size: int) -> Figure:
    """The image, attention rolled back through all blocks, and the same weighted for one class.

    Args:
        explanation: What was looked at.
        photo: The original image.
        size: Pixels of the picture's longer side.
    """
    index = explanation.target
    probability = f"{explanation.probabilities[index]:.1%}"
    name = short(explanation.classes[index], 40)
    framed = (0, 0, *photo.size) != explanation.view.box
    panels = (
        ("image", "image", "framed: what the network is given" if framed else ""),
        ("attention rollout", "rollout", "what all blocks attend to, whatever the class"),
        ("weighted by gradients", "gradients", _speaks(explanation, short(name, 30))),
    )
    with drawing("saliency"):
        sheet = new_sheet(
            photo,
            len(panels),
            title=f"{explanation.architecture}: {name}, {probability}",
            size=size,
            captions=[below for *_, below in panels],
            least=1.55,
            columns=(3,) if photo.width < 2.2 * photo.height else (1,),
        )
        for axes, (*titles, below) in zip(sheet.panels, panels, strict=True):
            sheet.caption(axes, titles, below=below)
        seen, rollout, gradient = sheet.panels
        sheet.show(seen, explanation.view)
        _draw(rollout, explanation, explanation.saliency.rollout, sheet)
        _draw(gradient, explanation, explanation.saliency.gradient, sheet)
        explain_colours(sheet, 0, "relevance", "0", "each panel's strongest")
        return sheet.figure


def _speaks(explanation: Explanation, name: str) -> str:
    return f"what speaks for {name}" if explanation.saliency.gradient.any() else f"nothing speaks for {name}"


def _draw(axes: Axes, explanation: Explanation, values: Array, sheet: Sheet) -> None:
    sheet.show(axes, explanation.view, grey=1.0, light=0.5)
    height, width = sheet.pixels.shape[:2]
    if width < 400 and height < 400:  # a small image: the map is smoother than its pixels
        width, height = width * 400 // max(width, height), height * 400 // max(width, height)
    shown = explanation.on_image(values, explanation.saliency.cells, (max(width, 1), max(height, 1)))
    inside = shown[np.isfinite(shown)]
    most = float(np.percentile(inside, _MOST) or inside.max()) if inside.size else 0.0
    painted = colours(np.nan_to_num(shown) / most if most > 0 else np.zeros_like(shown))
    painted[..., 3] = np.where(np.isfinite(shown), painted[..., 3], 0)
    image = axes.imshow(
        painted, extent=(0, sheet.photo[0], sheet.photo[1], 0), interpolation="bilinear", aspect="auto", zorder=1
    )
    image.set_gid("saliency")
