"""How far a network's certainty can be believed: as numbers, and as the diagram that is usual for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dat_cli.report.canvas import BLUE, ORANGE, QUIET, TEAL, as_svg, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RELIABILITY = "reliability.svg"
BINS = 15
"""Of equal width, from 0 to 1, as in the literature; a bin holds its upper edge."""

_WIDTH = 0.85 / BINS  # of a bar


@dataclass(frozen=True)
class Reliability:
    """Certainty against accuracy.

    Attributes:
        nll: Mean negative logarithm of the probability that was given to the true class, in nats.
        ece: Expected calibration error: the mean over pictures of how far accuracy and mean certainty of the
            picture's bin are apart.
        images: Pictures of each bin, (BINS,).
        confidence: Mean probability of the class that was given, (BINS,); 0 for empty bins.
        accuracy: Share of the bin's pictures that were given their class, (BINS,); 0 for empty bins.
    """

    nll: float
    ece: float
    images: npt.NDArray[np.int64] = field(repr=False)
    confidence: npt.NDArray[np.float64] = field(repr=False)
    accuracy: npt.NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(
        cls, confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], nll: npt.NDArray[np.float64]
    ) -> Reliability:
        """Of single pictures.

        Args:
            confidence: Probability of the class that was given, (N,).
            right: Whether it was the true one, (N,).
            nll: Negative logarithm of the true class's probability, (N,).
        """
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        images = np.bincount(place, minlength=BINS)
        sums = (np.bincount(place, weights=values, minlength=BINS) for values in (confidence, right))
        means = [total / np.maximum(images, 1) for total in sums]
        ece = float((np.abs(means[0] - means[1]) * images).sum() / len(confidence))
        return cls(float(nll.mean()), ece, images, *means)


def draw_reliability(before: Reliability, after: Reliability | None) -> str:
    """Accuracy of each bin of certainty, and how many pictures it has, before and after calibration, as an SVG."""
    from matplotlib.figure import Figure

    panels = [("Before", before), *([("After", after)] if after else [])]
    with drawing("reliability"):
        figure = Figure(figsize=(3.6 * len(panels), 4.2), layout="constrained")
        axes = figure.subplots(
            2, len(panels), squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": (4, 1)}
        )
        for (name, found), upper, lower in zip(panels, *axes, strict=True):
            _draw_accuracy(upper, found)
            upper.set_title(f"{name}: calibration error {found.ece:.2%}")
            lower.bar(_centres(), found.images / max(found.images.sum(), 1), width=_WIDTH, color=QUIET)
            lower.set_xlabel("certainty")
            lower.set_xlim(0, 1)
            for place in (upper, lower):
                place.tick_params(length=0)
        axes[0, 0].set_ylabel("accuracy")
        axes[1, 0].set_ylabel("images")
        axes[1, 0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        return as_svg(figure)


def _draw_accuracy(axes: Axes, found: Reliability) -> None:
    """Bars up to accuracy or certainty, whichever is less, and from there to the other what parts them."""
    filled = found.images > 0
    x, accuracy, certainty = _centres()[filled], found.accuracy[filled], found.confidence[filled]
    bottom, gap = np.minimum(accuracy, certainty), accuracy - certainty
    axes.bar(x, bottom, width=_WIDTH, color=BLUE, alpha=0.85, label="accuracy")
    for name, height, colour in (("too certain", -gap, ORANGE), ("not certain enough", gap, TEAL)):
        axes.bar(x, np.maximum(height, 0), width=_WIDTH, bottom=bottom, color=colour, alpha=0.6, label=name)
    axes.plot((0, 1), (0, 1), color=QUIET, linestyle=(0, (2, 3)), linewidth=1)
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left")


def _centres() -> npt.NDArray[np.float64]:
    return (np.arange(BINS) + 0.5) / BINS
