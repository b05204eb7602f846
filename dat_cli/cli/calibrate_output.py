"""What ``dat calibrate`` tells, for people and for programs."""

from __future__ import annotations

from typing import Any

from dat_cli.cli.output import print_table
from dat_cli.cli.wording import printable
from dat_cli.report.reliability import BINS, Reliability
from dat_cli.run.resolve import Weights
from dat_cli.train.calibration import Calibration


def print_calibration(weights: Weights, source: str, found: Calibration) -> None:
    """Print a table: before and after."""
    facts = f"{found.images} images, top-1 {found.accuracy:.2%}, {_temperature(found)}"
    both = [found.before, found.after]
    error = ["calibration error", *(f"{of.ece:.2%}" if of else "-" for of in both)]
    loss = ["negative log-likelihood", *(f"{of.nll:.4f}" if of else "-" for of in both)]
    title = f"{printable(weights.name)} on {printable(source)}, {facts}\n"
    print_table(["", "before", "after"], [error, loss], title=title)


def calibration_as_json(weights: Weights, source: str, found: Calibration) -> dict[str, Any]:
    """All numbers as plain values."""
    return {
        "weights": weights.name,
        "architecture": weights.config.architecture,
        "source": source,
        "images": found.images,
        "val_acc1": found.accuracy,
        "temperature": found.temperature if found.determined else None,
        "before": _reliability(found.before),
        "after": _reliability(found.after) if found.after else None,
    }


def _temperature(found: Calibration) -> str:
    return f"temperature {found.temperature:.4f}" if found.determined else "no temperature"


def _reliability(of: Reliability) -> dict[str, Any]:
    columns = zip(of.images.tolist(), of.confidence.tolist(), of.accuracy.tolist(), strict=True)
    bins = [
        {"from": place / BINS, "to": (place + 1) / BINS, "images": images, "confidence": mean, "accuracy": right}
        for place, (images, mean, right) in enumerate(columns)
    ]
    return {"ece": of.ece, "nll": of.nll, "bins": bins}
