"""What is said on stderr while a command works: our lines, and of the libraries only what a user can act on."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TextIO

from dat_cli.hub.tokens import hide_token

_PREFIX = {"DEBUG": "debug: ", "WARNING": "warning: ", "ERROR": "error: ", "CRITICAL": "error: "}

# Loggers of Lightning. What they say below a warning is advertisement ("Tip: try installing litlogger"), the state
# of hardware that is not there ("TPU available: False"), or what our own lines say better.
_CHATTY = (
    "lightning",
    "lightning.pytorch",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning_utilities.core.rank_zero",
)

# Beginnings of warnings, as regular expressions, about what the user did not write or cannot change.
_NOT_FOR_USERS = (
    r"Starting from v1\.9\.0, `tensorboardX` has been removed",
    r".*isinstance\(treespec, LeafSpec\).*",
    r"The '\w+' does not have many workers",
    r"Consider setting `persistent_workers=True`",
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Precision \S+ is not supported by the model summary",
    r"LightningCLI's args parameter is intended to run from within Python",
    r"Checkpoint directory .* exists and is not empty",
    r"Trying to infer the `batch_size` from an ambiguous collection",
    r"The `srun` command is available on your system but is not used",
    r"GPU available but not used",
    r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",
    r"pkg_resources is deprecated",
    r"\s*By default only one JsonargparseDeprecationWarning",  # Lightning calls what it was told not to
    r"\s*``instantiate_classes`` was deprecated",
    r".*does not have a deterministic implementation",
    r"This DataLoader will create \d+ worker processes in total",
    r"Using `DistributedSampler` with the dataloaders",
    r"Your `IterableDataset` has `__len__` defined",  # streams know how long an epoch is
    r"Found \d+ module\(s\) in eval mode at the start of training",  # they are frozen
    r"You're resuming from a checkpoint that ended before the epoch ended",  # ours is resumable, see data/loader.py
    r"The ``compute`` method of metric \w+ was called before the ``update``",  # of a process whose images are padding
    r"Detected pickle protocol \d+ in the checkpoint",
    r"You're resuming from a checkpoint that ended before the epoch ended",  # which our loader goes on with
    r"You're using the WeightAveraging callback with a model that overrides",  # which FSDP alone does
    r"You're using the WeightAveraging callback with a model that overrides the configure_model",  # fsdp is refused
    r"Grad strides do not match bucket view strides",  # of depthwise kernels, whose one channel has any stride
)


class _StderrHandler(logging.Handler):
    """Writes to the stderr of the moment, which a test or a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one plain line; of several processes that do the same, the first alone tells how it goes."""
        if record.levelno < logging.WARNING and not is_first_process():
            return
        try:
            sys.stderr.write(f"dat: {_PREFIX.get(record.levelname, '')}{hide_token(self.format(record))}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody listens; that must not end a training
            pass


def set_up_logging() -> None:
    """Let the logger ``dat`` and all below it print plain lines to stderr; DAT_DEBUG=1 shows the details too."""
    logger = logging.getLogger("dat")
    logger.setLevel(logging.DEBUG if _debugging() else logging.INFO)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())


def quiet_libraries() -> None:
    """Silence what a user of this command cannot act on; nothing is silenced with DAT_DEBUG=1.

    Works before and after Lightning is imported.
    """
    set_up_logging()
    warnings.showwarning = _show_warning
    if _debugging():
        return
    for name in _CHATTY:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        for handler in logger.handlers:
            handler.setLevel(logging.WARNING)
    for beginning in _NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=beginning)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the signature is Python's
    line: str | None = None,  # noqa: ARG001
) -> None:
    """A warning as one line of ours; where in which library it arose is for those who debug."""
    text = " ".join(str(message).split())
    place = f" ({category.__name__}, {filename}:{lineno})" if _debugging() else ""
    logging.getLogger("dat").warning("%s%s", text, place)


def is_first_process() -> bool:
    """Whether this is the only process of a command, or the first of all that torchrun, Slurm or Lightning started."""
    if rank := os.environ.get("RANK") or os.environ.get("SLURM_PROCID"):
        return rank == "0"
    return all(os.environ.get(name, "0") in ("", "0") for name in ("LOCAL_RANK", "NODE_RANK"))


def _debugging() -> bool:
    return os.environ.get("DAT_DEBUG") == "1"
