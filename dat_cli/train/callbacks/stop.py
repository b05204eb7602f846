"""What all processes of a training agree on after a step: to save, to stop, or that something is not finite."""

from __future__ import annotations

import logging
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

from dat_cli.train.averaging import give_back
from dat_cli.train.callbacks.finite import NotFinite, not_finite
from dat_cli.train.callbacks.run_folder import RunFolder
from dat_cli.train.signals import STOPPED_BY, Signals
from dat_cli.train.together import Together
from dat_cli.whole import whole_file

BAD_BATCH = "not_finite.txt"

log = logging.getLogger("dat.train")


class Stop(Callback):
    """Writes a checkpoint when one is due or a signal asks to stop, and stops; every process at the same step.

    A step means an optimizer step, with all the batches that it accumulates. A validation is left after the batch that
    is being measured; the resumed run begins with it.

    It has to stand behind all callbacks but those that Lightning calls last, the folder among them.

    Args:
        signals: What is asked from outside.
        finite: What looks at losses and gradients.
        folder: Where to write; without one, as in a trial, signals are obeyed at once.
    """

    def __init__(self, signals: Signals, finite: NotFinite, folder: RunFolder | None = None) -> None:
        self.signals = signals
        self.finite = finite
        self.folder = folder
        self._together = Together()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Keep Lightning from handling signals."""
        ignore_signals(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """From now on something would be lost."""
        self.signals.noting = self.folder is not None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Agree, and do what was agreed on.

        A checkpoint from the last batch of an epoch, or from one that a validation follows, would resume behind the
        validation: that of the epoch's end is soon there, and a stop finds the first batch of the validation.
        """
        fit = trainer.fit_loop
        if fit._should_accumulate():
            return
        loop = fit.epoch_loop
        assert fit._data_fetcher is not None  # noqa: S101 - of a type; a batch has come from there
        follows = loop._num_ready_batches_reached() or loop._should_check_val_fx(fit._data_fetcher)
        is_due = self.folder is not None and trainer.is_global_zero and self.folder.is_due()
        found = self.finite.found(trainer, wait=follows)
        asked, due, bad = self._together.highest(self.signals.asked, is_due, found)
        saves = self.folder is not None and (asked or due) and not (follows or _ends(trainer))
        if saves and not bad:
            (bad,) = self._together.highest(self.finite.found(trainer, wait=True))
        if bad:
            self._report(trainer)
        if saves and self.folder is not None:
            self.folder.save(trainer)
            if asked:
                self._leave(trainer, asked)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Leave a validation, which a resumed run makes anew."""
        if trainer.sanity_checking or self.folder is None or _ends(trainer):
            return
        (asked,) = self._together.highest(self.signals.asked)
        if asked:
            give_back(trainer, pl_module)
            self.folder.save(trainer, before_validation=True)
            self._leave(trainer, asked)

    def _leave(self, trainer: Trainer, asked: int) -> None:
        log.info(
            "%s: stopped in epoch %d after step %d, with a checkpoint",
            STOPPED_BY[asked - 1].name,
            trainer.current_epoch + 1,
            trainer.global_step,
        )
        if _is_started_by_us(trainer):
            raise SystemExit(0)
        self.signals.obey(asked)

    def _report(self, trainer: Trainer) -> None:
        error, names = not_finite(self._together.gather(self.finite.finding()))
        if not trainer.is_global_zero:
            raise SystemExit(0 if _is_started_by_us(trainer) else 1)
        if self.folder is not None and self.folder.path is not None and names:
            path = self.folder.path / BAD_BATCH
            with whole_file(path) as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            log.info("the images of that step stand in %s", path)
        raise error


def ignore_signals(trainer: Trainer) -> None:
    """Keep Lightning from handling signals, and from asking before each step whether there was one.

    On SIGTERM it talks to other processes in the middle of whatever they do, which can end in a standstill, and ends
    with the exit code 0; its question makes the CPU wait for the GPU.
    """
    trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    pass


def _ends(trainer: Trainer) -> bool:
    """Whether this was the last step of all: what is left, a run that goes on would not make up for."""
    return 0 <= trainer.max_steps <= trainer.global_step


def _is_started_by_us(trainer: Trainer) -> bool:
    """Whether the first process has started this one, and would take an exit code for a failure."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
