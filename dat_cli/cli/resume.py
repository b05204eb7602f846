"""Going on with a run: what it needs, and which options may differ from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dat_cli.cli.base import flat
from dat_cli.errors import UsageError
from dat_cli.train.callbacks.run_folder import BEST, CONFIG, LAST
from dat_cli.weights import open_checkpoint

# What a machine offers, and what is shown: no other option can change in the middle of a run.
RUNTIME = ("trainer.devices", "trainer.accelerator", "trainer.enable_progress_bar", "data.num_workers")


def find_run(reference: str) -> Path:
    """The folder of a run that can go on.

    Args:
        reference: The folder, or the checkpoint in it.

    Raises:
        UsageError: There is nothing to go on with.
    """
    if not reference.strip():
        raise UsageError("nothing to resume: --resume is empty", hint="give the folder of a run")
    path = Path(reference).expanduser()
    if not path.exists():
        raise UsageError(f"nothing to resume: there is no {path}", hint="give the folder of a run")
    if path.is_file():
        if path.name != LAST:
            hint = "to start fresh from weights use --weights" if path.name == BEST else f"give the {LAST} of a run"
            raise UsageError(f"nothing to resume: {path} is not a {LAST}", hint=hint)
        path = path.parent
    for name in (CONFIG, LAST):
        if not (path / name).is_file():
            raise UsageError(f"nothing to resume: {path} has no {name}", hint=_versions(path))
    return path


def check_same_options(run: Path, options: dict[str, Any]) -> None:
    """Refuse options that are not those of the run.

    Args:
        run: Folder of the run.
        options: All options by dotted names.

    Raises:
        UsageError: Some differ; names them.
    """
    then = flat(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8")))
    changed = [name for name in then if name not in RUNTIME and name in options and options[name] != then[name]]
    if changed:
        shown = ", ".join(f"{name} (was {then[name]}, given {options[name]})" for name in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UsageError(
            f"a resumed run keeps its options, but these differ: {shown}{more}",
            hint=f"leave them out, or start fresh with --weights {run}",
        )


def check_unfinished(run: Path, *, max_epochs: int | None, max_steps: int) -> None:
    """Refuse a run that has reached its end.

    Raises:
        UsageError: Nothing is left to train.
        WeightsError: The checkpoint is damaged.
    """
    checkpoint = open_checkpoint(run / LAST)
    epochs, steps = checkpoint.get("epoch", -1) + 1, checkpoint.get("global_step", 0)
    if (max_epochs is not None and epochs >= max_epochs) or 0 <= max_steps <= steps:
        raise UsageError(
            f"nothing to resume: {run} is finished after {epochs} epochs",
            hint=f"start fresh from it with --weights {run}",
        )


def _versions(path: Path) -> str:
    versions = sorted(version.name for version in path.glob("version_*") if (version / LAST).is_file())
    return f"give one of its {', '.join(versions[-3:])}" if versions else "give the folder of a run"
