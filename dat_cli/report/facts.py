"""What the files of a folder say about a run, gathered for a page; whatever is missing is left out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dat_cli.errors import DataError
from dat_cli.report.curves import Curves, best_row, read_curves
from dat_cli.report.files import read_findings
from dat_cli.report.findings import Findings
from dat_cli.report.secrets import hide_secrets

CONFIG, ENVIRONMENT, RESULT = "config.yaml", "environment.json", "result.json"

_CERTAINTY = 1.96  # standard deviations that hold 95 of 100


@dataclass(frozen=True)
class Facts:
    """Everything that a page tells.

    Attributes:
        place: The folder as a command names it.
        findings: What was measured last; None before any validation.
        curves: Columns of ``metrics.csv``.
        options: Of ``config.yaml``; empty for a measurement.
        config: Its text, without secrets.
        environment: Where the run took place.
        result: What ``dat validate`` or ``dat test`` found; empty for a training.
    """

    place: str
    findings: Findings | None
    curves: Curves = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    config: str = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    result: dict[str, Any] = field(repr=False)

    @property
    def architecture(self) -> str:
        """Name of the network."""
        return str(self.result.get("architecture") or self.option("model", "arch") or "network")

    @property
    def source(self) -> str:
        """Name of the data, without the folders above it."""
        source = str(self.result.get("source") or self.option("data", "source") or "images")
        return Path(source).name or source

    @property
    def weights(self) -> str:
        """What a command calls the weights."""
        return str(self.result.get("weights") or self.place)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return int(self.curves["epoch"][-1]) if self.curves else 0

    @property
    def planned(self) -> int | None:
        """Epochs that the run shall have; None where steps or time end it."""
        planned = self.option("trainer", "max_epochs")
        return planned if isinstance(planned, int) and planned > 0 else None

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept."""
        row = best_row(self.curves) if self.curves else None
        return None if row is None else int(self.curves["epoch"][row])

    def option(self, *names: str) -> Any:
        """The value of an option, by the names that lead to it; None where it is not given."""
        value: Any = self.options
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value


def read_facts(folder: Path) -> Facts:
    """Read the files of a run, or of a measurement, beside which files of somebody else may lie.

    Raises:
        DataError: One of them is damaged.
    """
    config = _text(folder / CONFIG)
    is_run = bool(config) or not (folder / RESULT).is_file()
    try:
        options = yaml.safe_load(config) if config else {}
        said = json.loads(_text(folder / (ENVIRONMENT if is_run else RESULT)) or "{}")
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"cannot read what {folder} says about itself: {error}") from error
    return Facts(
        place=str(Path(*folder.resolve().parts[-3:])),
        findings=read_findings(folder),
        curves=read_curves(folder) if is_run else {},
        options=options if isinstance(options, dict) else {},
        config=hide_secrets(config),
        environment=said if is_run else {},
        result={} if is_run else said,
    )


def interval(correct: int, images: int) -> tuple[float, float]:
    """Where an accuracy lies with 95 % confidence, when so many of so many pictures were right (Wilson, 1927)."""
    share, square = correct / images, _CERTAINTY**2
    middle = share + square / (2 * images)
    reach = _CERTAINTY * math.sqrt(share * (1 - share) / images + square / (4 * images**2))
    scale = 1 + square / images
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
