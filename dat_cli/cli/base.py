"""What the commands around a network share: their parser, the network and the data they build, the trainer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml
from jsonargparse import Namespace, dict_to_namespace, set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from dat_cli.catalog import get_variant
from dat_cli.cli.output import quiet_libraries
from dat_cli.cli.parser import DatArgumentParser, NamedConfig
from dat_cli.cli.trainer import check_trainer, in_one_line, names_an_option, prefer_counts, trainer_arguments
from dat_cli.data.module import ImageDataModule
from dat_cli.data.sources import BUILT_IN
from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.ops.kept import constant_weights
from dat_cli.run.resolve import Weights
from dat_cli.train.callbacks.stop import ignore_signals
from dat_cli.train.classification import Classification
from dat_cli.train.hardware import default_precision
from dat_cli.train.processes import is_lost, verdict

SEED = 0
EPOCHS = 300  # both papers
GRADIENT_CLIP = 5.0  # norm; both papers
_TRAINER = {
    "max_epochs": EPOCHS,
    "gradient_clip_val": GRADIENT_CLIP,
    "logger": False,
    "use_distributed_sampler": False,  # the data module divides the images, without counting any twice
}


class DatCLI(LightningCLI):
    """Base of the commands ``fit``, ``validate`` and ``test``, each of which knows only itself.

    Args:
        args: The command's name and its options.
    """

    command: str
    trainer_kind: type[Trainer] = Trainer  # LightningCLI takes only methods of the trainer for commands
    skipped = frozenset({"model", "datamodule", "train_dataloaders", "val_dataloaders", "ckpt_path", "weights_only"})

    trainer_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, args: list[str]) -> None:
        quiet_libraries()
        set_parsing_settings(docstring_parse_attribute_docstrings=True)
        super().__init__(
            Classification,
            ImageDataModule,
            args=args,
            trainer_class=self.trainer_kind,
            save_config_callback=None,
            seed_everything_default=SEED,
            trainer_defaults={**_TRAINER, **self.trainer_options},
            parser_class=DatArgumentParser,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static in the base, called on the object
        """The one command, and the arguments of the trainer's method that are no options."""
        return {self.command: set(self.skipped)}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose ``--config`` takes names as well as paths."""
        parser = DatArgumentParser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=NamedConfig, help="A YAML file, or the name of one that comes with dat."
        )
        return parser

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The network and the data before the trainer, whose many options few people need."""
        parser.add_lightning_class_args(Classification, "model")
        parser.add_lightning_class_args(ImageDataModule, "data")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        prefer_counts(parser)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the network takes from the data, so that nobody has to say it."""
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")
        parser.link_arguments("data.preprocessing", "model.preprocessing", apply_on="instantiate")
        parser.link_arguments("data.source_name", "model.trained_on", source_name, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and find out what was given and what is a default."""
        words = [str(word) for word in args] if isinstance(args, list) else []
        self.config = parser.parse_args(words)
        given = flat(parser.parse_args(words, defaults=False)[self.command].as_dict())
        cast(DatArgumentParser, parser).refuse_empty(given)
        self.given = set(given)
        seed = self.options.get("seed_everything")
        if not isinstance(seed, bool | None) and not 0 <= seed < 2**32:
            raise UsageError(f"seed_everything is {seed}", hint="it must be from 0 to 4294967295")

    @property
    def options(self) -> Namespace:
        """The options of the command."""
        options: Namespace = self.config[self.command]
        return options

    def plain_options(self) -> dict[str, Any]:
        """All options as a config file holds them."""
        text = self.parser.dump(self.config, skip_none=False, skip_link_targets=True)
        options: dict[str, Any] = yaml.safe_load(text)[self.command]
        return {name: value for name, value in options.items() if name != "config"}

    def before_instantiate_classes(self) -> None:
        """Find out early, and in words, what Lightning would find out late."""
        get_variant(self.options.model.arch)
        trainer = self.options.trainer
        if trainer.precision is None:
            trainer.precision = default_precision(trainer.accelerator)
        self.options.data.source = absolute_folder(self.options.data.source)

    def use_weights(self, weights: Weights) -> None:
        """Take the network and the preprocessing of weights, unless options contradict them.

        Raises:
            UsageError: The options ask for another network or another preparation of images, or the weights take other
                channels than pictures have.
        """
        check_channels(weights)
        config, variant = weights.config, get_variant(weights.config.architecture)
        model = {
            "arch": config.architecture,
            "img_size": config.model_args.get("img_size", variant.image_size),
            "window": config.model_args.get("window", variant.window),
        }
        prepared = asdict(config.preprocessing)
        said = {
            **{f"model.{name}": value for name, value in model.items()},
            **{f"data.preprocessing.{name}": value for name, value in prepared.items()},
        }
        for name, value in said.items():
            self._check_agrees(name, value, weights)
        for name, value in model.items():
            self.options.model[name] = value
        self.options.data.preprocessing = dict_to_namespace(prepared)

    def _check_agrees(self, name: str, value: object, weights: Weights) -> None:
        asked = self.options.get(name) if name in self.given else None
        asked = tuple(asked) if isinstance(asked, list) else asked
        if asked is None or asked == value:
            return
        option = name.rpartition(".")[2]
        converts = f"dat convert {weights.name} OUT --{option} {asked}" if option in ("img_size", "window") else None
        other = "leave it out, or a config that says it, or give other weights"
        raise UsageError(
            f"{name} is {printable(str(asked))}, but {weights.name} was made with {value}",
            hint=f"convert the weights first: {converts}" if converts else other,
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer.

        Raises:
            UsageError: Its options do not go together, or ask for what the machine lacks.
        """
        check_trainer(self.options.trainer)
        try:
            trainer = super().instantiate_trainer(**trainer_arguments(self.options.trainer), **kwargs)
        except DatError:
            raise
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise UsageError(f"trainer: {in_one_line(error)}") from error
        ignore_signals(trainer)
        return trainer

    def extra_callbacks(self, *callbacks: Callback) -> list[Callback]:
        """The callbacks of the config and ours."""
        return [*(self.config_init[self.command].trainer.callbacks or []), *callbacks]

    def run(self, method: str, **kwargs: Any) -> Any:
        """Call a method of the trainer; an interrupt stays an interrupt.

        Raises:
            KeyboardInterrupt: Lightning ends the process with 1 instead, after it has cleaned up.
        """
        try:
            with nullcontext() if method == "fit" else constant_weights():
                return getattr(self.trainer, method)(**kwargs)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        except MisconfigurationException as error:
            raise UsageError(f"trainer: {in_one_line(error)}") from error
        except ValueError as error:
            if not names_an_option(error, self.options.trainer):
                raise
            raise UsageError(f"trainer: {in_one_line(error)}") from error
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise verdict() from error


def check_channels(weights: Weights) -> None:
    """Refuse weights for what no picture is.

    Raises:
        UsageError: They take neither one channel nor three.
    """
    channels = weights.config.preprocessing.input_size[0]
    if channels not in (1, 3):
        raise UsageError(f"{weights.name} takes images of {channels} channels; pictures have 1 or 3")


def absolute_folder(source: str) -> str:
    """The same folder from everywhere, for a config that repeats the run; ``digits`` stays the built-in images."""
    if source == BUILT_IN or not source.strip():
        return source
    try:
        path = Path(source).expanduser()
        return str(path.resolve()) if path.is_dir() else source
    except (OSError, ValueError, RuntimeError):  # no path at all, which the data module says in better words
        return source


def source_name(source: str) -> str:
    """Name of the data that weights carry with them: not the whole path, which is nobody else's business."""
    return printable(Path(source).name or source)


def flat(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def add_owner(group: Any) -> None:
    """The option that says whose weights the name of a variant means."""
    group.add_argument("--owner", type=str | None, help="Whose weights on the Hub a variant's name means.")


def on_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()
