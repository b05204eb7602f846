"""What a run was made with: versions, devices, the state of the code, the command."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dat_cli.data.walk import printable
from dat_cli.hub.tokens import hide_token
from dat_cli.report.secrets import hide_secrets

ENVIRONMENT = "environment.json"

_PACKAGES = ("dat-cli", "torch", "torchvision", "lightning", "timm", "torchmetrics", "numpy", "pillow")
_GIT_PATIENCE = 5.0  # seconds; a large repository on a slow disk is not worth more
_OF_ONE_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # that of the current folder
_LONGEST_COMMAND = 10_000  # characters


def environment() -> dict[str, Any]:
    """Plain values that say where a run took place; what cannot be found out is None.

    No name of the machine or its user is among them, and no token.
    """
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": _command(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "cpus": _cpus(),
        "devices": _devices(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "git": _git(),
        "dat_git": _own_git(),
    }


def _command() -> str:
    program = Path(sys.argv[0])
    name = "dat" if program.name in ("dat", "__main__.py") else program.name
    words = " ".join(_quoted(word) for word in [name, *sys.argv[1:]])
    return printable(hide_secrets(hide_token(words)))[:_LONGEST_COMMAND]


def _quoted(word: str) -> str:
    """As a shell wants it; quotes of the user's own choice are not known any more."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "'\"'\"'") + "'"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _devices() -> list[str]:
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _git(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the code in a folder, the current one by default, and whether files that git knows differ from it."""
    commit = _ask_git("rev-parse", "HEAD", folder=folder)
    if commit is None:
        return None
    changes = _ask_git("status", "--porcelain", "--untracked-files=no", folder=folder)
    return {"commit": commit, "changed": None if changes is None else bool(changes)}


def _own_git() -> dict[str, Any] | None:
    """The same of the checkout that this very package is part of; None where it was installed.

    An environment may lie inside somebody's repository, which does not know the packages in it.
    """
    here = Path(__file__)
    return _git(here.parent) if _ask_git("ls-files", "--error-unmatch", here.name, folder=here.parent) else None


def _ask_git(*words: str, folder: Path | None = None) -> str | None:
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # only looks
    if folder is not None:
        variables = {name: value for name, value in variables.items() if name not in _OF_ONE_REPOSITORY}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", *words],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=_GIT_PATIENCE,
            check=True,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=variables,
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # no git, no repository, or none that may be read
        return None
    return done.stdout.strip()
