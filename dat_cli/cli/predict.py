"""``dat predict``: Lightning's command line with images instead of a data module."""

from __future__ import annotations

import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, get_args

from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.base import DatCLI, add_owner, check_channels
from dat_cli.cli.files import result_file
from dat_cli.cli.parser import DatArgumentParser
from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.run.images import ImagePaths
from dat_cli.run.load import load_model
from dat_cli.run.predict import Prediction, PredictionData
from dat_cli.run.records import Format, RecordWriter
from dat_cli.run.resolve import DEFAULT, find_weights
from dat_cli.run.spool import Predictions
from dat_cli.train.hardware import default_precision

_FORMATS: tuple[Format, ...] = get_args(Format)
_FLAGS = ("-h", "--help")
_BY_SUFFIX: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "table"}


def main(args: list[str]) -> int:
    """Name what is in images.

    Args:
        args: ``predict``, images and options in any order.

    Returns:
        0 when all images could be read.

    Raises:
        DatError: Some could not (exit code 1), or nothing was predicted at all.
    """
    Predict(images_first(args))
    return 0


class Predict(DatCLI):
    """``dat predict PATH... [--weights WEIGHTS]``.

    Args:
        args: ``predict``, the images, then options.
    """

    command = "predict"
    skipped = frozenset({"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"})

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser without ``--config``: everything that a config would say stands in the weights."""
        kwargs["usage"] = "dat predict PATH... [--weights WEIGHTS] [options]"
        return DatArgumentParser(**kwargs)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """No seed, because nothing is drawn; Lightning asks for the option all the same."""
        parser.add_argument("--seed_everything", type=bool, default=False, help=SUPPRESS)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The trainer alone: the network and its preprocessing come from the weights."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        parser.set_defaults({"trainer.devices": 1, **{f"trainer.{name}": False for name in quiet}})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Images, and what to do with them."""
        add = parser.add_argument
        add("images", nargs="*", type=str, help="Images, folders (searched recursively) and quoted patterns.")
        add(
            "--weights",
            type=str | None,
            help=f"A run, a file, owner/name on the Hub, or a variant; by default {DEFAULT} as its authors trained it.",
        )
        add_owner(parser)
        add("--format", type=Format | None, help="How to write; table, or what the suffix of --output says.")
        add("--output", type=str | None, help="File to write to instead of the terminal.")
        add("--top_k", type=PositiveInt, default=5, help="Classes of each image, at most all.")
        add("--batch_size", type=PositiveInt, default=32, help="Images that the network sees at once.")
        add("--num_workers", type=NonNegativeInt | None, help="Processes that decode; by default as suits.")

    def before_instantiate_classes(self) -> None:
        """Look at everything that can be wrong before anything is built."""
        options = self.options
        self.format = _format(options.format, options.output)
        self.paths = ImagePaths(options.images)
        weights = DEFAULT if options.weights is None else options.weights
        self.weights = find_weights(weights, owner=options.owner)
        check_channels(self.weights)
        if options.trainer.precision is None:
            options.trainer.precision = default_precision(options.trainer.accelerator)
        if options.trainer.num_nodes > 1 and not options.output:
            raise UsageError("several machines need --output, a file in a folder that all of them see")

    def instantiate_classes(self) -> None:
        """Build the network and the images from the weights."""
        super().instantiate_classes()  # the trainer, which is all that the parser knows of
        network, config = load_model(self.weights)
        options = self.options
        self.classes = config.classes
        self.model = Prediction(network)
        self.datamodule = PredictionData(
            self.paths, config.preprocessing, batch_size=options.batch_size, num_workers=options.num_workers
        )

    def predict(self, **_: Any) -> None:
        """Predict, write, and say how much failed.

        Raises:
            DatError: Some images could not be read; all others were written.
        """
        options = self.options
        output = Path(options.output).expanduser() if options.output else None
        with self._stream(output) as stream:
            writer = RecordWriter(stream, self.format)
            spool_in = output.parent if output else None
            predictions = Predictions(writer, self.classes, top_k=options.top_k, spool_in=spool_in)
            self.trainer.callbacks.append(predictions)  # type: ignore[attr-defined]  # set by one of its parts
            self.run("predict", model=self.model, datamodule=self.datamodule, return_predictions=False)
        if writer.failed:
            raise DatError(f"{writer.failed} of {writer.written} images could not be read")

    def _stream(self, output: Path | None) -> AbstractContextManager[TextIO]:
        if not self.trainer.is_global_zero:
            return nullcontext(StringIO())  # one process writes, headers too
        return result_file(output) if output else nullcontext(sys.stdout)


def images_first(args: Sequence[str]) -> list[str]:
    """Bring images and options, given in any order, into the one that argparse takes: it ends positionals at an option.

    Every option but help has exactly one value; after ``--`` all are images.

    Args:
        args: ``predict``, then what was typed.
    """
    images: list[str] = []
    options: list[str] = []
    rest = iter(args[1:])
    for arg in rest:
        if arg == "--":
            images.extend(f"./{name}" if name.startswith("-") else name for name in rest)
        elif not arg.startswith("-") or arg == "-":
            images.append(arg)
        else:
            options.append(arg)
            if "=" not in arg and arg not in _FLAGS:
                options.extend(value for value in [next(rest, None)] if value is not None)
    return [args[0], *images, *options]


def _format(given: Format | None, output: str | None) -> Format:
    if given is not None:
        return given
    if output is None:
        return "table"
    suffix = Path(output).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise UsageError(
            f"--output {printable(output)}: its suffix does not say how to write",
            hint=f"pass --format {'|'.join(_FORMATS)}, or end it in {', '.join(_BY_SUFFIX)}",
        )
    return _BY_SUFFIX[suffix]
