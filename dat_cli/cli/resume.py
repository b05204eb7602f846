"""Going on with a run: what it needs, and which options may differ from it."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from dat_cli.cli.base import flat
from dat_cli.errors import UsageError, WeightsError
from dat_cli.train import slurm
from dat_cli.train.callbacks.run_folder import BEST, CONFIG, JOB, LAST
from dat_cli.train.callbacks.versions import versions
from dat_cli.train.checkpoint_io import PREVIOUS
from dat_cli.weights import open_checkpoint

# What a machine offers, and what is shown: no other option can change in the middle of a run.
RUNTIME = (
    "trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.strategy", "trainer.enable_progress_bar",
    "data.num_workers", "save_minutes",
)  # fmt: skip
FOUND = {"find_lr": "model.optimizer.lr", "find_batch_size": "data.batch_size"}
"""What a run finds out first, and the option that it then has: its config.yaml says the number alone."""

log = logging.getLogger("dat.fit")


def find_run(reference: str) -> Path:
    """The folder of a run that can go on.

    Args:
        reference: The folder, the checkpoint in it, or the folder of all versions of a run, of which the newest that
            has a checkpoint is meant.

    Raises:
        UsageError: There is nothing to go on with.
    """
    if not reference.strip():
        raise UsageError("nothing to resume: --resume is empty", hint="give the folder of a run")
    path = Path(reference).expanduser()
    if not path.exists():
        raise UsageError(f"nothing to resume: there is no {path}", hint="give the folder of a run")
    if path.is_file():
        if path.name not in (LAST, PREVIOUS):
            hint = "to start fresh from weights use --weights" if path.name == BEST else f"give the {LAST} of a run"
            raise UsageError(f"nothing to resume: {path} is not a {LAST}", hint=hint)
        path = path.parent
    if not (path / CONFIG).is_file() and (newest := _newest(path)) is not None:
        log.info("going on with %s, the newest of its versions", newest)
        path = newest
    if not (path / CONFIG).is_file():
        raise UsageError(f"nothing to resume: {path} has no {CONFIG}", hint="give the folder of a run")
    if not _has_checkpoint(path):
        raise UsageError(
            f"nothing to resume: {path} has no {LAST}", hint="it was stopped before its first one; start it again"
        )
    return path


def find_requeued(parent: Path, options: dict[str, Any]) -> Path | None:
    """The run that this job of Slurm has begun before it was put back into the queue.

    Args:
        parent: Folder of all versions of the run.
        options: What its config.yaml must say: a job can have several runs.

    Returns:
        None where this is no such job, or where it was stopped before its first checkpoint.
    """
    now = flat(options)
    found = {name for search, option in FOUND.items() if now[search] for name in (search, option)}
    job = slurm.job_id()
    if job is None or not slurm.was_requeued():
        return None
    for path in reversed(versions(parent)):
        with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            begun_by = (path / JOB).read_text(encoding="utf-8").strip()
            then = flat(_config(path))
            same = all(then.get(name) == value for name, value in now.items() if name not in found)
            if begun_by == job and _has_checkpoint(path) and then.keys() == now.keys() and same:
                return path
    return None


def take_found(run: Path, options: Namespace) -> None:
    """Search for nothing that a run has found out already.

    Args:
        run: Its folder.
        options: Of the command; changed in place.
    """
    then = flat(_config(run))
    for search, option in FOUND.items():
        if options[search]:
            options[search], options[option] = False, then[option]


def check_same_options(run: Path, options: dict[str, Any]) -> None:
    """Refuse options that are not those of the run.

    Args:
        run: Folder of the run.
        options: All options by dotted names.

    Raises:
        UsageError: Some differ; names them.
    """
    then = flat(_config(run))
    changed = [name for name in then if name not in RUNTIME and name in options and options[name] != then[name]]
    if changed:
        shown = ", ".join(f"{name} (was {then[name]}, given {options[name]})" for name in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UsageError(
            f"a resumed run keeps its options, but these differ: {shown}{more}",
            hint=f"leave them out, or start fresh with --weights {run}",
        )


def usable_checkpoint(run: Path) -> tuple[Path, dict[str, Any]]:
    """The last checkpoint of a run and its content, or where that is damaged the one before it, with a warning.

    Raises:
        WeightsError: None is whole.
    """
    last, previous = run / LAST, run / PREVIOUS
    try:
        return last, open_checkpoint(last)
    except WeightsError as error:
        if not previous.is_file():
            raise
        content = open_checkpoint(previous)
        log.warning("%s; going on from %s, after step %s", error.message, PREVIOUS, content.get("global_step"))
        return previous, content


def is_finished(checkpoint: dict[str, Any], *, max_epochs: int | None, max_steps: int) -> bool:
    """Whether a run has reached its end: of its epochs or steps, or by early stopping.

    Args:
        checkpoint: Its last.
        max_epochs: Epochs of the whole run.
        max_steps: Steps of the whole run; -1 for any number.
    """
    progress = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    epochs, steps = progress.get("processed", 0), checkpoint.get("global_step", 0)
    callbacks = checkpoint.get("callbacks", {})
    stopped_early = any(state.get("stopping_reason") for state in callbacks.values())  # 0: not stopped
    return (max_epochs is not None and epochs >= max_epochs) or 0 <= max_steps <= steps or stopped_early


def check_unfinished(run: Path, *, max_epochs: int | None, max_steps: int) -> Path:
    """The checkpoint to go on from.

    Raises:
        UsageError: Nothing is left to train.
        WeightsError: No checkpoint is whole.
    """
    path, checkpoint = usable_checkpoint(run)
    if is_finished(checkpoint, max_epochs=max_epochs, max_steps=max_steps):
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        raise UsageError(
            f"nothing to resume: {run} is finished after {progress['processed']} epochs",
            hint=f"start fresh from it with --weights {run}",
        )
    return path


def _config(run: Path) -> dict[str, Any]:
    options: dict[str, Any] = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    return options


def _has_checkpoint(path: Path) -> bool:
    return (path / LAST).is_file() or (path / PREVIOUS).is_file()


def _newest(path: Path) -> Path | None:
    return next((version for version in reversed(versions(path)) if _has_checkpoint(version)), None)
