"""``dat fit``: train a network, from nothing, from weights, or on from where a run stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from dat_cli.cli.base import DatCLI, add_owner, check_channels, flat, last_value, on_terminal
from dat_cli.cli.memory import training_needs_less
from dat_cli.cli.resume import (
    check_same_options,
    check_unfinished,
    find_requeued,
    find_run,
    is_finished,
    usable_checkpoint,
)
from dat_cli.cli.start import take_over
from dat_cli.cli.tune import tune
from dat_cli.cli.wall import is_out_of_memory
from dat_cli.errors import UsageError
from dat_cli.run.resolve import Weights, find_weights
from dat_cli.train.averaging import Averaging
from dat_cli.train.callbacks import NotFinite, ProgressBar, ProgressLines, Report, RunFolder, StepSeed, Stop
from dat_cli.train.callbacks.run_folder import CONFIG
from dat_cli.train.checkpoint_io import WholeCheckpointIO
from dat_cli.train.loggers import make_loggers
from dat_cli.train.signals import Signals
from dat_cli.train.transfer import start_from

log = logging.getLogger("dat.fit")


class Fit(DatCLI):
    """``dat fit``."""

    command = "fit"
    run_path: Path | None = None
    checkpoint: Path | None = None
    folder: RunFolder | None = None
    weights: Weights | None = None

    def __init__(self, args: list[str]) -> None:
        self.signals = Signals()
        self.signals.install()
        try:
            super().__init__(args)  # parses, builds and trains
            self.signals.finish()
        finally:
            self.signals.restore()
            if self.folder is not None:
                self.folder.close()  # also where training never started

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where to start and where to write."""
        super().add_default_arguments_to_parser(parser)
        start = parser.add_argument_group("Where to start and where to write")
        start.add_argument(
            "--weights",
            type=str | None,
            help="Start from these: a run, a file, owner/name on the Hub, a variant.",
        )
        add_owner(start)
        start.add_argument(
            "--resume", type=str | None, help="Go on with this run, in its own folder and with its own options."
        )
        start.add_argument(
            "--name", type=str | None, help="Name of the run; default: that of the config, or the architecture."
        )
        start.add_argument("--output_dir", type=str, default="runs", help="Folder of all runs.")
        keep = parser.add_argument_group("What is kept, and when to stop")
        keep.add_argument(
            "--ema_decay",
            type=float | None,
            help="Average weights over steps with this decay, such as 0.9999, and measure and keep the average.",
        )
        keep.add_argument(
            "--patience", type=int | None, help="Stop after so many validations without a better top-1 accuracy."
        )
        keep.add_argument(
            "--save_minutes", type=float, default=30.0, help="Minutes between two checkpoints within an epoch."
        )
        keep.add_argument(
            "--loggers",
            type=list[Literal["tensorboard", "wandb"]],
            default=[],
            help="Who else is told the numbers of metrics.csv: tensorboard, wandb.",
        )
        find = parser.add_argument_group("What is found out first")
        find.add_argument(
            "--find_batch_size", type=bool, default=False, help="Train with the largest batch that fits into memory."
        )
        find.add_argument(
            "--find_lr",
            type=bool,
            default=False,
            help="Train with a tenth of the learning rate at which the loss of a trial is lowest.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; a resumed run's own options come first."""
        words = [str(word) for word in args] if isinstance(args, list) else []
        if (reference := last_value(words, "--resume")) is not None:
            self.run_path = find_run(reference)
            words = [words[0], "--config", str(self.run_path / CONFIG), *words[1:]]
        super().parse_arguments(parser, words)

    def before_instantiate_classes(self) -> None:
        """Settle on weights, name and folder."""
        super().before_instantiate_classes()
        options = self.options
        if self.run_path:
            check_same_options(self.run_path, flat(self.plain_options()))
            self.checkpoint = check_unfinished(self.run_path, **self._ends())
        elif options.resume is not None:
            raise UsageError(
                "resume stands in a config", hint=f"say it in the command: dat fit --resume {options.resume}"
            )
        elif options.weights is not None:
            self.weights = find_weights(options.weights, owner=options.owner)
            options.weights = self.weights.lasting_name
            check_channels(self.weights)
            take_over(options, self.given, self.weights)
        for name, least in (("patience", 1), ("save_minutes", 0)):
            if options[name] is not None and not options[name] >= least:
                raise UsageError(f"--{name} is {options[name]}, not at least {least}")
        options.name = _checked_name(options.name or self._config_name() or options.model.arch)
        parent = Path(options.output_dir).expanduser() / options.name
        if options.trainer.fast_dev_run:
            log.info("fast_dev_run: a trial of the whole way; nothing is kept")
        else:
            if self.run_path is None:
                self._go_on_after_requeue(parent)
            self.folder = RunFolder(
                parent,
                self._config_text(),
                resume=self.run_path,
                save_minutes=options.save_minutes,
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with what keeps the run and shows its progress."""
        bar = self.options.trainer.enable_progress_bar is not False and on_terminal()
        plugins = self.config_init[self.command].trainer.plugins or []
        if self.options.loggers and self.folder is not None:
            folder = self.folder
            kwargs["logger"] = make_loggers(self.options.loggers, lambda: folder.path, self.options.name)
        return super().instantiate_trainer(
            callbacks=self._callbacks(bar),
            plugins=[*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpointIO()],
            enable_progress_bar=bar,
            enable_checkpointing=self.folder is not None,
            enable_model_summary=False,
            **kwargs,
        )

    def fit(self, **kwargs: Any) -> None:
        """Train, and say where the results lie."""
        if (found := self.weights) is not None:
            log.info(start_from(self.model, found.path, found.config, name=found.name))
        checkpoint = None if self.checkpoint is None else str(self.checkpoint)
        try:
            tune(self.options, self.trainer, self.model, self.datamodule, self.folder)
            if self.folder is not None:
                self.folder.config = self._config_text()  # with what was found
            self.run("fit", ckpt_path=checkpoint, weights_only=True, **kwargs)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise training_needs_less(self.options) from error
        if self.folder is not None and self.folder.path is None:
            raise UsageError(
                "nothing was trained: no epoch or no batch", hint="see --trainer.max_epochs and limit_train_batches"
            )
        if self.folder is not None and self.trainer.is_global_zero:
            log.info("%s", self.folder.summary())
            print(self.folder.path)  # noqa: T201 - the one result, for a script to use

    def _callbacks(self, bar: bool) -> list[Callback]:
        """All callbacks in the order in which they are called; Lightning puts those that keep the run last."""
        options, finite = self.options, NotFinite()
        callbacks = self.extra_callbacks(StepSeed(options.seed_everything or 0), finite)
        if options.ema_decay is not None:
            if options.trainer.strategy == "fsdp":
                raise UsageError("--ema_decay needs whole weights in each process", hint="give --trainer.strategy ddp")
            callbacks.append(Averaging(options.ema_decay))
        if options.patience is not None:
            callbacks.append(EarlyStopping("val_acc1", mode="max", patience=options.patience))
        callbacks.append(ProgressLines(interval=None if bar else 10.0))
        if bar:
            callbacks.append(ProgressBar())
        callbacks.append(Stop(self.signals, finite, self.folder))
        return callbacks if self.folder is None else [*callbacks, self.folder, Report(self.folder)]

    def _go_on_after_requeue(self, parent: Path) -> None:
        """Go on with the run that this job of Slurm has begun; where it is finished, there is nothing to do."""
        if (run := find_requeued(parent, self._config())) is None:
            return
        self.run_path, self.weights = run, None
        path, content = usable_checkpoint(run)
        if is_finished(content, **self._ends()):
            log.info("this job has finished %s before it was requeued", run)
            print(run)  # noqa: T201 - as after a training
            raise SystemExit(0)
        self.checkpoint = path

    def _ends(self) -> dict[str, int]:
        return {name: self.options.trainer[name] for name in ("max_epochs", "max_steps")}

    def _config_name(self) -> str | None:
        configs = [str(path) for path in self.options.config or []]
        return Path(configs[-1]).stem if configs else None

    def _config(self) -> dict[str, Any]:
        """What ``config.yaml`` says."""
        return {name: value for name, value in self.plain_options().items() if name != "resume"}

    def _config_text(self) -> str:
        return yaml.safe_dump(self._config(), sort_keys=False, allow_unicode=True)


def _checked_name(name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise UsageError(f"--name {name!r} is not the name of a folder", hint="choose the place with --output_dir")
    return name
