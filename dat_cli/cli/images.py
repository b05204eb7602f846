"""What ``dat predict`` and ``dat embed`` share: images from the command line, and weights that know all the rest."""

from __future__ import annotations

from abc import abstractmethod
from argparse import SUPPRESS
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.base import DatCLI, add_owner, check_channels
from dat_cli.cli.parser import DatArgumentParser
from dat_cli.errors import UsageError
from dat_cli.run.images import ImagePaths
from dat_cli.run.resolve import DEFAULT, find_weights
from dat_cli.train.hardware import default_precision


class ImageCLI(DatCLI):
    """``dat COMMAND PATH... [--weights WEIGHTS]``.

    Args:
        args: The command, the images, then options (``images_first``).
    """

    usage: str
    skipped = frozenset({"model", "dataloaders", "datamodule", "return_predictions", "ckpt_path", "weights_only"})

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser without ``--config``: everything that a config would say stands in the weights."""
        return DatArgumentParser(**kwargs, usage=self.usage)

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
        add("images", nargs="*", type=str, help="Images, folders, quoted patterns, addresses; - for standard input.")
        add("--list", type=str | None, help="A file with a path or an address in each line; - for standard input.")
        add(
            "--weights",
            type=str | None,
            help=f"A run, a file, owner/name on the Hub, or a variant; by default {DEFAULT} as its authors trained it.",
        )
        add_owner(parser)
        self.add_own_arguments(parser)
        add("--batch_size", type=PositiveInt, default=32, help="Images that the network sees at once.")
        add("--num_workers", type=NonNegativeInt | None, help="Processes that decode; by default as suits.")

    @abstractmethod
    def add_own_arguments(self, parser: LightningArgumentParser) -> None:
        """What to do with the images."""

    def before_instantiate_classes(self) -> None:
        """Look for images and weights before anything is built."""
        options = self.options
        self.paths = ImagePaths(options.images, listed=options.list)
        self.weights = find_weights(DEFAULT if options.weights is None else options.weights, owner=options.owner)
        check_channels(self.weights)
        if options.trainer.precision is None:
            options.trainer.precision = default_precision(options.trainer.accelerator)

    def instantiate_classes(self) -> None:
        """Build the trainer, which is all that the parser knows of."""
        super().instantiate_classes()
        if self.paths.from_pipe and self.trainer.world_size > 1:
            hint = "write it to a file, or leave out --trainer.devices"
            raise UsageError("several processes cannot share what comes on standard input or a pipe", hint=hint)
