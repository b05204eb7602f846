"""The worst mistakes as one picture."""

from __future__ import annotations

import io
import math

from dat_cli.report.canvas import INK, QUIET, RED, TEAL, drawing, short
from dat_cli.report.findings import Findings

_COLUMNS = 6


def draw_mistakes(findings: Findings) -> bytes | None:
    """A grid of PNG, with what each picture shows and what the network said; None without mistakes."""
    from matplotlib.figure import Figure

    mistakes = findings.mistakes
    if not mistakes:
        return None
    columns = min(_COLUMNS, len(mistakes))
    rows = math.ceil(len(mistakes) / columns)
    with drawing("mistakes"):
        width, height = max(1.75 * columns, 4.2), 2.3 * rows + 0.45  # inches
        figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        figure.subplots_adjust(0.02, 0.65 / height, 0.98, 1 - 0.45 / height, wspace=0.08, hspace=0.42)
        for place in places:
            place.set_axis_off()
        for place, mistake in zip(places, mistakes, strict=False):
            small = max(mistake.image.shape[:2]) <= 64
            place.imshow(mistake.image, interpolation="nearest" if small else "antialiased")
            truth, said = (short(findings.classes[index], 20) for index in (mistake.truth, mistake.predicted))
            lines = (
                (f"is {truth}", TEAL, 9, -0.06),
                (f"said {said}, {mistake.probability:.0%}", RED, 9, -0.19),
                (short(mistake.name.rpartition("/")[2], 24), QUIET, 6.5, -0.30),
            )
            for text, colour, size, height in lines:
                place.text(0.5, height, text, color=colour, size=size, transform=place.transAxes, ha="center", va="top")
        figure.suptitle("The mistakes that the network was most certain of", y=1 - 0.15 / height, color=INK, size=11)
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        return stream.getvalue()
