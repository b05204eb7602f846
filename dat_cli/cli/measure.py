"""``dat validate`` and ``dat test``: measure weights on labelled images."""

from __future__ import annotations

import argparse
from types import MappingProxyType
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from dat_cli.cli.base import DatCLI, add_owner, last_value, on_terminal
from dat_cli.cli.output import Column, print_json, print_table
from dat_cli.cli.wording import printable
from dat_cli.errors import UsageError
from dat_cli.run.resolve import Weights, find_weights
from dat_cli.train.callbacks import ProgressBar
from dat_cli.weights import load_tensors, read_tensors

_SCORES = {"acc1": "top-1", "acc5": "top-5", "f1": "macro F1"}


class Measure(DatCLI):
    """Base of both commands; they differ in the part of the data."""

    skipped = DatCLI.skipped | {"dataloaders", "verbose"}
    trainer_options = MappingProxyType({"devices": 1})  # several would count some images twice
    weights: Weights

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What to measure, and how to tell."""
        super().add_default_arguments_to_parser(parser)
        group = parser.add_argument_group("What to measure and how to tell")
        group.add_argument("--weights", type=str | None, help="A run, a file, owner/name on the Hub, or a variant.")
        add_owner(group)
        group.add_argument("--format", type=Literal["table", "json"], default="table", help="Form of the result.")
        for name in ("name", "output_dir"):  # stand in the config.yaml of a run, which is a config for this too
            parser.add_argument(f"--{name}", type=str | None, help=argparse.SUPPRESS)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; weights come from the command line alone, because a run's config names those that it started from."""
        super().parse_arguments(parser, args)
        reference = last_value([str(word) for word in args] if isinstance(args, list) else [], "--weights")
        if reference is None:
            raise UsageError(
                f"{self.command}: no weights to measure",
                hint=f"pass them, such as dat {self.command} --weights runs/tiny/version_0",
            )
        self.options.weights = reference

    def before_instantiate_classes(self) -> None:
        """Take network, classes and preprocessing from the weights."""
        self.weights = find_weights(self.options.weights, owner=self.options.owner)
        trained_on = self.weights.config.trained_on
        if "data.source" not in self.given and trained_on not in (None, self.options.data.source):
            raise UsageError(
                f"{self.weights.name} was trained on {trained_on!r}, which could be anywhere",
                hint="pass the images with --data.source DIR",
            )
        super().before_instantiate_classes()
        self.use_weights(self.weights)
        self.options.data.classes = list(self.weights.config.classes)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer without anything that writes.

        Raises:
            UsageError: There is more than one process, among which Lightning divides the images with repetitions.
        """
        bar = self.options.trainer.enable_progress_bar is not False and on_terminal()
        trainer = super().instantiate_trainer(
            callbacks=self.extra_callbacks(*([ProgressBar()] if bar else [])),
            enable_progress_bar=bar,
            enable_checkpointing=False,
            enable_model_summary=False,
            **kwargs,
        )
        if trainer.world_size > 1:
            raise UsageError(
                f"dat {self.command} on {trainer.world_size} devices would count some images twice",
                hint="leave out --trainer.devices",
            )
        return trainer

    def measure(self, prefix: str, **kwargs: Any) -> None:
        """Run over the images and print what came out."""
        load_tensors(self.model.network, read_tensors(self.weights.path), source=self.weights.name)
        measured = self.run(self.command, verbose=False, **kwargs)
        if not measured:
            raise UsageError("nothing was measured: no batch", hint=f"see --trainer.limit_{prefix}_batches")
        metrics = measured[0]
        counts = self.model.class_counts.compute().tolist()  # true and false positives and negatives, support
        classes = [
            {"class": name, "images": row[4], "correct": row[0], "accuracy": row[0] / row[4] if row[4] else None}
            for name, row in zip(self.model.classes, counts, strict=True)
        ]
        result = {
            "weights": self.weights.name,
            "architecture": self.model.arch,
            "source": self.options.data.source,
            "images": sum(row[4] for row in counts),
            **{f"{prefix}_{name}": metrics[f"{prefix}_{name}"] for name in ("loss", *_SCORES)},
            "classes": classes,
        }
        if self.options.format == "json":
            print_json(result)
        else:
            _print_tables(result, prefix)


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


def _print_tables(result: dict[str, Any], prefix: str) -> None:
    scores = [Column("loss", ".4f"), *(Column(title, ".2%") for title in _SCORES.values())]
    title = f"{printable(result['weights'])} on {printable(result['source'])}, {result['images']} images\n"
    print_table(scores, [[result[f"{prefix}_{name}"] for name in ("loss", *_SCORES)]], title=title)
    print()  # noqa: T201 - between the two
    print_table(
        ["class", "images", "correct", Column("accuracy", ".2%")], [list(row.values()) for row in result["classes"]]
    )
