"""Certainty that can be believed: one temperature that all logits are divided by.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from dat_cli.errors import DatError
from dat_cli.report.reliability import Reliability
from dat_cli.weights.config import TEMPERATURES

_AT_ONCE = 4_000_000  # logits, in double precision
_STEPS = 100
_TOLERANCE = 1e-7
_DIGITS = 4  # of a temperature: more than any validation set determines


@dataclass(frozen=True)
class Calibration:
    """What a temperature does.

    Attributes:
        temperature: That of all images, from 0.05 to 20; 1 where they do not determine any.
        determined: Whether the images determine it; they do not where each of them is given its class, because then
            more certainty is better without end.
        images: How many there were.
        accuracy: Share that is given its class, which no temperature changes.
        before: With plain logits.
        after: Each half of the images with the temperature of the other half, so that no image is measured with what
            was learned from it; None for a single image.
    """

    temperature: float
    determined: bool
    images: int
    accuracy: float
    before: Reliability
    after: Reliability | None


def calibrate(logits: Tensor, labels: Tensor) -> Calibration:
    """Find the temperature of a network, and what it is worth.

    Args:
        logits: What the network answered, (N, classes), N at least 1. Every other image is in the same half.
        labels: The classes, (N,).

    Raises:
        DatError: A logit is no number.
    """
    if not logits.isfinite().all():
        raise DatError("the network's output is not finite", hint="try --trainer.precision 32-true")
    plain = _of_images(logits, labels, 1.0)
    right = plain[1].bool()
    after = None
    if len(labels) > 1:
        halves = [slice(0, None, 2), slice(1, None, 2)]
        measured = torch.empty_like(plain)
        for half, other in (halves, halves[::-1]):
            temperature = fit_temperature(logits[other], labels[other])
            measured[:, half] = _of_images(logits[half], labels[half], temperature)
        after = _reliability(measured)
    return Calibration(
        temperature=fit_temperature(logits, labels),
        determined=not bool(right.all()),
        images=len(labels),
        accuracy=right.double().mean().item(),
        before=_reliability(plain),
        after=after,
    )


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least negative log-likelihood, within bounds; 1 where every image is given its class.

    The loss is convex in the inverse temperature b, with slope E[z] - z_y and curvature Var[z] under softmax(b z):
    Newton's method within an interval that only shrinks finds its one minimum, however few images there are.

    Args:
        logits: (N, classes).
        labels: (N,).
    """
    if (logits.argmax(1) == labels).all():
        return 1.0
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if _slope(logits, labels, low)[0] >= 0:
        return TEMPERATURES[1]
    if _slope(logits, labels, high)[0] <= 0:
        return TEMPERATURES[0]
    inverse = 1.0
    for _ in range(_STEPS):
        slope, curvature = _slope(logits, labels, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curvature if curvature > 0 else low
        following = newton if low < newton < high else sqrt(low * high)
        if abs(following - inverse) <= _TOLERANCE * inverse:
            break
        inverse = following
    return round(1 / inverse, _DIGITS)


def _slope(logits: Tensor, labels: Tensor, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean loss."""
    slope = curvature = 0.0
    for z, y in _parts(logits, labels):
        probabilities = (inverse * z).softmax(1)
        mean = (probabilities * z).sum(1, keepdim=True)
        slope += (mean - z.gather(1, y[:, None])).sum().item()
        curvature += (probabilities * (z - mean).square()).sum().item()
    return slope / len(labels), curvature / len(labels)


def _of_images(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Of each image the probability of its likeliest class, whether it is the true one, and the loss: (3, N)."""
    found = []
    for z, y in _parts(logits, labels):
        confidence, given = (z / temperature).softmax(1).max(1)
        found.append(torch.stack((confidence, given == y, F.cross_entropy(z / temperature, y, reduction="none"))))
    return torch.cat(found, dim=1)


def _parts(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, _AT_ONCE // logits.shape[1])
    for z, y in zip(logits.split(rows), labels.split(rows), strict=True):
        yield z.double(), y


def _reliability(of_images: Tensor) -> Reliability:
    confidence, right, nll = of_images.numpy()
    return Reliability.of(confidence, right.astype(bool), nll)
