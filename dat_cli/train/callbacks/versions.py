"""The versions of a run: ``version_0``, ``version_1``, ... in one folder."""

from __future__ import annotations

import re
from pathlib import Path


def versions(parent: Path) -> list[Path]:
    """The folders that there are, the newest last."""
    found = [(_number(entry), entry) for entry in parent.glob("version_*")]
    return [entry for number, entry in sorted(found) if number >= 0]


def next_version(parent: Path) -> Path:
    """Make the folder after the last; making it fails if another run has just done so, and then the next is tried."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max(map(_number, parent.iterdir()), default=-1)
    while True:
        path = parent / f"version_{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _number(path: Path) -> int:
    match = re.fullmatch(r"version_(\d+)", path.name)
    return int(match[1]) if match else -1
