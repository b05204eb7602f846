"""``dat validate`` and ``dat test``: measure weights on labelled images."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from dat_cli.cli.base import DatCLI, add_owner, on_terminal
from dat_cli.cli.early import last_value, no_weights
from dat_cli.cli.output import Column, print_json, print_table, to_json
from dat_cli.cli.report_folder import check_folder, report_folder
from dat_cli.cli.wording import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.report.facts import RESULT
from dat_cli.report.files import CLASSES, write_findings
from dat_cli.report.findings import ClassRow, Findings
from dat_cli.report.html import write_report
from dat_cli.report.secrets import hide_secrets
from dat_cli.run.resolve import Weights, find_weights
from dat_cli.train.callbacks import ProgressBar
from dat_cli.train.callbacks.run_folder import CONFIG
from dat_cli.weights import load_tensors, read_tensors
from dat_cli.whole import whole_file

_SCORES = {"acc1": "top-1", "acc5": "top-5", "f1": "macro F1"}
_MOST = 30  # classes of a table on screen; of more only the weakest are shown
_WEAKEST = 20

# Stand in the config.yaml of a run, which is a config for measuring too.
_OF_FIT: dict[str, Any] = {
    "name": str | None,
    "output_dir": str | None,
    "ema_decay": float | None,
    "patience": int | None,
    "save_minutes": float | None,
    "loggers": list[str] | None,
    "find_lr": bool | None,
    "find_batch_size": bool | None,
}

log = logging.getLogger("dat.measure")


class Measure(DatCLI):
    """Base of the commands that run trained weights over labelled images."""

    skipped = DatCLI.skipped | {"dataloaders", "verbose"}
    trainer_options = MappingProxyType({"devices": 1})  # more only when asked: starting them takes longer than most
    reported = "tables, pictures and a page"
    weights: Weights

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What to measure, and how to tell."""
        super().add_default_arguments_to_parser(parser)
        group = parser.add_argument_group("What to measure and how to tell")
        group.add_argument("--weights", type=str | None, help="A run, a file, owner/name on the Hub, or a variant.")
        add_owner(group)
        group.add_argument("--format", type=Literal["table", "json"], default="table", help="Form of the result.")
        group.add_argument(
            "--report", type=str | None, help=f"Folder for {self.reported}; default: in that of the run."
        )
        for name, kind in _OF_FIT.items():
            parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; weights come from the command line alone, because a run's config names those that it started from."""
        super().parse_arguments(parser, args)
        reference = last_value([str(word) for word in args] if isinstance(args, list) else [], "--weights")
        if reference is None:
            raise no_weights(self.command)
        self.options.weights = reference

    def before_instantiate_classes(self) -> None:
        """Take network, classes and preprocessing from the weights, once a report has its place.

        Raises:
            UsageError: The weights know fewer than two classes, or an option contradicts them.
        """
        if self.options.report is not None:
            report_folder(self.options.report)
        self.weights = find_weights(self.options.weights, owner=self.options.owner)
        classes = list(self.weights.config.classes)
        if len(classes) < 2:
            raise UsageError(
                f"{self.weights.name} knows one class alone, so that there is nothing to measure",
                hint="train with at least two",
            )
        trained_on = self.weights.config.trained_on
        if "data.source" not in self.given and trained_on not in (None, self.options.data.source):
            raise UsageError(
                f"{self.weights.name} was trained on {trained_on!r}, which could be anywhere",
                hint="pass the images with --data.source DIR",
            )
        if "data.classes" in self.given and self.options.data.classes not in (None, classes):
            raise UsageError(
                f"data.classes are not those of {self.weights.name}", hint="leave them out: weights know their classes"
            )
        super().before_instantiate_classes()
        self.use_weights(self.weights)
        self.options.data.classes = classes

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer without anything that writes."""
        bar = self.options.trainer.enable_progress_bar is not False and on_terminal()
        return super().instantiate_trainer(
            callbacks=self.extra_callbacks(*([ProgressBar()] if bar else [])),
            enable_progress_bar=bar,
            enable_checkpointing=False,
            enable_model_summary=False,
            **kwargs,
        )

    def measure(self, prefix: Literal["val", "test"], **kwargs: Any) -> None:
        """Run over the images and print what came out."""
        measured = self.run_over(prefix, **kwargs)
        findings = self.model.findings
        if not self.trainer.is_global_zero or findings is None:
            return
        result = {
            "weights": self.weights.name,
            "architecture": self.model.arch,
            "source": hide_secrets(self.options.data.source),
            "images": findings.images,
            **{f"{prefix}_{name}": measured[f"{prefix}_{name}"] for name in ("loss", *_SCORES)},
        }
        rows = findings.per_class()
        if self.options.format == "json":
            print_json({**result, "classes": [_as_json(row) for row in rows]})
        else:
            _print_tables(result, rows, prefix)
        report = self._write_report(findings, result)
        if self.options.format == "table" and len(rows) > _MOST:
            more = f"{report / CLASSES} has all" if report else "--report DIR or --format json gives all"
            log.info("the %d weakest of %d classes; %s", _WEAKEST, len(rows), more)

    def run_over(self, prefix: Literal["val", "test"], **kwargs: Any) -> dict[str, float]:
        """Run the weights over the images of a part; its scores.

        Raises:
            UsageError: There was no image.
        """
        load_tensors(self.model.network, read_tensors(self.weights.path), source=self.weights.name)
        measured = self.run("validate" if prefix == "val" else "test", verbose=False, **kwargs)
        if not measured:
            raise UsageError("nothing was measured: no batch", hint=f"see --trainer.limit_{prefix}_batches")
        return dict(measured[0])

    def _write_report(self, findings: Findings, result: dict[str, Any]) -> Path | None:
        """Write into the folder that was asked for, or beside weights of a run; the folder, if there is one.

        Raises:
            UsageError: The folder that was asked for cannot be written.
        """
        asked: str | None = self.options.report
        run = self.weights.path.parent
        of_run = self.weights.place == "here" and (run / CONFIG).is_file()
        if self.options.trainer.fast_dev_run or (asked is None and not of_run):
            return None
        folder = run / findings.part if asked is None else Path(asked).expanduser()
        try:
            check_folder(folder)  # measuring takes long: there may be something new
            folder.mkdir(parents=True, exist_ok=True)
            # First, because it tells a later measurement whose files the others are.
            with whole_file(folder / RESULT) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.write(to_json(result, file, indent=2) + "\n")
            write_findings(folder, findings)
            log.info("report: %s", write_report(folder))
        except (OSError, DatError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if asked is not None:
                raise UsageError(f"--report {printable(asked)} cannot be written ({reason})") from error
            log.warning("no report: %s cannot be written (%s)", folder, reason)  # what was asked for is on the screen
            return None
        return folder


class Validate(Measure):
    """``dat validate``."""

    command = "validate"

    def validate(self, **kwargs: Any) -> None:
        """Measure on the validation images."""
        self.measure("val", **kwargs)


class Test(Measure):
    """``dat test``."""

    command = "test"

    def test(self, **kwargs: Any) -> None:
        """Measure on the test images."""
        self.measure("test", **kwargs)


def _as_json(row: ClassRow) -> dict[str, Any]:
    return {"class" if name == "name" else name: value for name, value in row._asdict().items()}


def _print_tables(result: dict[str, Any], rows: list[ClassRow], prefix: str) -> None:
    scores = [Column("loss", ".4f"), *(Column(title, ".2%") for title in _SCORES.values())]
    title = f"{printable(result['weights'])} on {printable(result['source'])}, {result['images']} images\n"
    print_table(scores, [[result[f"{prefix}_{name}"] for name in ("loss", *_SCORES)]], title=title)
    print()  # noqa: T201 - between the two
    shares = [Column(name, ".2%") for name in ("recall", "precision", "F1")]
    if len(rows) > _MOST:
        rows = sorted(rows, key=lambda row: (row.recall is None, row.recall))[:_WEAKEST]
    print_table(
        ["class", "images", "correct", *shares, "most often taken for", "images"],
        [[*row[:-1], row.confused or None] for row in rows],
    )
