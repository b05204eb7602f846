"""``dat fit``: train a network, from nothing, from weights, or on from where a run stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from dat_cli.cli.base import DatCLI, check_channels, flat, on_terminal
from dat_cli.cli.early import last_value
from dat_cli.cli.fit_options import add_options, check_options
from dat_cli.cli.memory import training_needs_less
from dat_cli.cli.resume import (
    check_same_options,
    check_unfinished,
    find_requeued,
    find_run,
    is_finished,
    take_found,
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
    patience: EarlyStopping | None = None

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
        add_options(parser)

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
        check_options(options, starts_from_something=self.run_path is not None or options.weights is not None)
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
            if self.patience is not None and self.patience.stopped_epoch:
                log.info(
                    "stopped after epoch %d: no better top-1 in %d validations",
                    self.patience.stopped_epoch + 1,
                    self.patience.patience,
                )
            log.info("%s", self.folder.summary())
            print(self.folder.path)  # noqa: T201 - the one result, for a script to use

    def _callbacks(self, bar: bool) -> list[Callback]:
        """All callbacks in the order in which they are called; Lightning puts those that keep the run last."""
        options, finite = self.options, NotFinite()
        callbacks = self.extra_callbacks(StepSeed(options.seed_everything or 0), finite)
        if options.ema_decay is not None:
            callbacks.append(Averaging(options.ema_decay))
        if options.patience is not None:
            self.patience = EarlyStopping("val_acc1", mode="max", patience=options.patience)
            callbacks.append(self.patience)
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
        take_found(run, self.options)
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
