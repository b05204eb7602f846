"""The package as it is in a revision of git."""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE = "."


class ComparisonError(Exception):
    """The two cannot be compared; says why in one line."""


class Revision(NamedTuple):
    """What a revision is called, and the folder that has its package."""

    name: str
    folder: Path


@contextmanager
def checked_out(name: str) -> Iterator[Revision]:
    """The package as a revision has it, in a folder that is gone afterwards; ``.`` is this one with all its changes.

    Raises:
        ComparisonError: There is no such revision, or no git to ask.
    """
    if name == HERE:
        yield Revision(_here(), ROOT)
        return
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        _git("rev-parse", "--git-dir", why=f"{ROOT.name} is no checkout of git, which alone has revisions")
        raise ComparisonError(f"there is no revision {name!r}; git log --oneline and git tag list them")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=build) as folder:
        archive = Path(folder, "package.zip")
        # An archive and no worktree, so that the checkout knows nothing of it whatever ends this process.
        _git("archive", "--output", str(archive), commit, "dat_cli", why=f"revision {name!r} has no folder dat_cli")
        with zipfile.ZipFile(archive) as package:
            package.extractall(folder)
        archive.unlink()
        yield Revision(f"{name} ({commit[:9]})", Path(folder))


def _here() -> str:
    changed = _git("status", "--porcelain", "--", "dat_cli")
    commit = _git("rev-parse", "--short=9", "HEAD")
    return f"this folder ({commit or 'no commit'}{', with changes' if changed else ''})"


def _git(*words: str, why: str | None = None) -> str:
    """What git prints, or nothing where it fails and that needs no reason."""
    try:
        # The git on PATH, without a shell.
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        raise ComparisonError("git is not installed, which alone has revisions") from None
    if done.returncode and why:
        raise ComparisonError(why)
    return "" if done.returncode else done.stdout.strip()
