"""``dat calibrate``: a temperature for trained weights, from validation images, kept in the weights themselves."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.calibrate_output import calibration_as_json, print_calibration
from dat_cli.cli.measure import Measure
from dat_cli.cli.output import print_json
from dat_cli.cli.report_folder import report_folder
from dat_cli.cli.wording import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.report.canvas import alone
from dat_cli.report.reliability import RELIABILITY, draw_reliability
from dat_cli.report.secrets import hide_secrets
from dat_cli.run.resolve import Weights
from dat_cli.train.calibration import Calibration, calibrate
from dat_cli.train.callbacks.run_folder import CONFIG
from dat_cli.train.logits import LogitsCollector
from dat_cli.weights import read_tensors, write_weights
from dat_cli.weights.files import read_header
from dat_cli.weights.header import sha256_of
from dat_cli.weights.layout import is_layout, is_weights_file
from dat_cli.whole import whole_file

_OURS = ".safetensors"
_FEW = 200
"""Images; with fewer, chance decides on the second figure of a temperature."""

log = logging.getLogger("dat.calibrate")


class _Trainer(Trainer):
    """A trainer with a method of the command's name, without which LightningCLI knows no such command."""

    def calibrate(self) -> None:
        """Make probabilities of trained weights say how often they are right."""


class Calibrate(Measure):
    """``dat calibrate``."""

    command = "calibrate"
    trainer_kind = _Trainer
    reported = f"the diagram {RELIABILITY}"

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What to measure, and where the result goes."""
        super().add_default_arguments_to_parser(parser)
        parser.add_argument(
            "--output", type=str | None, help=f"A new {_OURS} file instead of a temperature in the weights themselves."
        )

    def before_instantiate_classes(self) -> None:
        """See where the temperature can be written before anything is measured."""
        super().before_instantiate_classes()
        self.target = _target(self.weights, self.options.output)

    def calibrate(self, **kwargs: Any) -> None:
        """Measure on the validation images, fit, tell, and write what they determine.

        Raises:
            DatError: The weights were replaced meanwhile, or the result cannot be written.
        """
        collector = LogitsCollector()
        self.trainer.callbacks.append(collector)  # type: ignore[attr-defined]  # set by one of its parts
        self.run_over("val", **kwargs)
        if not self.trainer.is_global_zero:
            return
        found = calibrate(collector.logits, collector.labels)
        source = hide_secrets(self.options.data.source)
        if self.options.format == "json":
            print_json(calibration_as_json(self.weights, source, found))
        else:
            print_calibration(self.weights, source, found)
        if not found.determined:
            log.warning(
                "all %d images are given their class, which says nothing about certainty: nothing is written, "
                "and %s stays as it is",
                found.images,
                printable(self.weights.name),
            )
            return
        if found.images < _FEW:
            log.warning("%d images are few: the temperature is a guess", found.images)
        if not self.options.trainer.fast_dev_run:
            self._write(found.temperature)
            self._write_diagram(found)

    def _write(self, temperature: float) -> None:
        tensors, others = read_tensors(self.weights.path), self._metadata_of_others()
        if sha256_of(self.weights.path) != self.weights.sha256:
            raise DatError(f"{self.weights.name} changed while it was measured", hint="calibrate again")
        write_weights(self.target, tensors, replace(self.weights.config, temperature=temperature), others=others)
        log.info("temperature %g written into %s", temperature, self.target)

    def _metadata_of_others(self) -> dict[str, str]:
        if self.target.resolve() != self.weights.path.resolve():
            return {}
        return read_header(self.target).metadata

    def _write_diagram(self, found: Calibration) -> None:
        asked: str | None = self.options.report
        run = self.weights.path.parent
        if asked is None and not (self.weights.place == "here" and (run / CONFIG).is_file()):
            return
        folder = run / "val" if asked is None else report_folder(asked)
        path = folder / RELIABILITY
        with _reported(path, asked):
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                temporary.write_text(alone(draw_reliability(found.before, found.after)), encoding="utf-8")
            log.info("diagram: %s", path)


def _target(weights: Weights, output: str | None) -> Path:
    """The file that will hold the temperature.

    Raises:
        UsageError: It cannot be written, or the weights are of a kind that keeps none.
    """
    if output is None:
        if weights.place != "here" or weights.path.suffix.lower() != _OURS:
            raise UsageError(
                f"{weights.name} cannot be changed: only a {_OURS} file here can",
                hint=f"pass --output {weights.config.architecture}{_OURS} for a copy with the temperature",
            )
        target = weights.path
    elif Path(output).suffix.lower() != _OURS:
        raise UsageError(f"--output {printable(output)} does not end in {_OURS}", hint=f"give NAME{_OURS}")
    else:
        target = Path(output).expanduser()
    shown = printable(str(target))
    if target.is_dir():
        raise UsageError(f"{shown} is a folder", hint="give the name of a file in it")
    if not os.access(Path(os.path.realpath(target)).parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{shown} cannot be written", hint=f"pass --output FILE{_OURS} in a folder that you may change"
        )
    if is_weights_file(target.name) and is_layout(target.parent):
        raise UsageError(
            f"{shown} would no longer be what the config.json beside it says", hint="pass another --output"
        )
    return target


@contextmanager
def _reported(path: Path, asked: str | None) -> Iterator[None]:
    """A diagram that cannot be written is an error only where it was asked for: the temperature is written by then.

    Raises:
        UsageError: It was asked for.
    """
    try:
        yield
    except (OSError, DatError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if asked is not None:
            raise UsageError(f"--report {printable(asked)} cannot be written ({reason})") from error
        log.warning("no diagram: %s cannot be written (%s)", path, reason)
