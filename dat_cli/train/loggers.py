"""Other programs that show curves: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError, did_you_mean

PROJECT = "dat"


def make_loggers(names: Sequence[str], folder: Callable[[], Path | None], name: str) -> list[Logger]:
    """Loggers that write below the folder of the run: ``tensorboard/``, ``wandb/``.

    ``metrics.csv`` is written in any case and needs no logger.

    Args:
        names: ``tensorboard`` and ``wandb``.
        folder: Says where the folder is. It is asked at the first number that is logged, because there is no folder
            before training starts.
        name: Name of the run, for Weights & Biases.

    Raises:
        UsageError: There is no such logger, or its package is not installed.
    """
    for wanted in names:
        if wanted not in _MAKERS:
            hint = did_you_mean(wanted, _MAKERS) or f"choose from {', '.join(_MAKERS)}"
            raise UsageError(f"there is no logger {printable(wanted)!r}", hint=hint)
        if find_spec(wanted) is None:
            raise UsageError(f"{wanted} is not installed", hint=f"pip install 'dat-cli[{wanted}]'")
    return [_InRunFolder(wanted, folder, name) for wanted in dict.fromkeys(names)]


class _InRunFolder(Logger):
    """A logger that is made when the folder of the run exists, and on the first process alone."""

    def __init__(self, kind: str, folder: Callable[[], Path | None], run: str) -> None:
        super().__init__()
        self._kind = kind
        self._folder = folder
        self._run = run
        self._logger: Logger | None = None

    @property
    def name(self) -> str:
        return self._run

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._logger is None:
            folder = self._folder()
            if folder is None:  # not yet training
                return
            self._logger = _make(self._kind, folder, self._run)
        self._logger.log_metrics(dict(metrics), step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: they stand in config.yaml."""

    @rank_zero_only
    def save(self) -> None:
        if self._logger is not None:
            self._logger.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._logger is not None:
            self._logger.finalize(status)
            if isinstance(self._logger, WandbLogger):  # else the next run of this process would be added to this one
                self._logger.experiment.finish(exit_code=0 if status == "success" else 1)
            self._logger = None


def _make(kind: str, folder: Path, run: str) -> Logger:
    logger = _MAKERS[kind](folder, run)
    try:
        _ = logger.experiment  # type: ignore[attr-defined]  # all have it, the base class does not say so
    except Exception as error:  # the libraries raise classes of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        hint = "log in with `wandb login`, or set WANDB_MODE=offline" if kind == "wandb" else None
        raise DatError(f"{kind} does not start: {printable(reason)}", hint=hint) from error
    return logger


def _tensorboard(folder: Path, run: str) -> Logger:  # noqa: ARG001 - the folder says it
    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)


def _wandb(folder: Path, run: str) -> Logger:
    import wandb

    # The same run again when training goes on; another where a new run took the place of a deleted one.
    made = (folder / "config.yaml").stat().st_mtime_ns if (folder / "config.yaml").exists() else 0
    identity = hashlib.sha256(f"{folder.resolve()} {made}".encode(errors="surrogateescape")).hexdigest()[:12]
    settings = wandb.Settings(console="off")  # our own streams stay as they are
    return WandbLogger(name=f"{run}/{folder.name}", save_dir=folder, project=PROJECT, id=identity, settings=settings)


_MAKERS: dict[str, Callable[[Path, str], Logger]] = {"tensorboard": _tensorboard, "wandb": _wandb}
