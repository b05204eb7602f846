"""Where ``dat validate`` and ``dat test`` may write what they found: never over what is not theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dat_cli.cli.wording import printable
from dat_cli.errors import UsageError
from dat_cli.report import files, html
from dat_cli.report.facts import CONFIG, RESULT
from dat_cli.run.resolve import BEST

_WRITTEN = (RESULT, files.CLASSES, files.CONFUSION, files.MISTAKES, html.CONFUSION, html.MISTAKES, html.REPORT)
_SAID = {"weights", "architecture", "source", "images"}  # in every result.json of ours


def report_folder(asked: str) -> Path:
    """The folder that ``--report`` names, which need not exist.

    Raises:
        UsageError: It is no folder to write a report into.
    """
    if not asked.strip():
        raise UsageError("--report is empty", hint="give the name of a folder")
    try:
        folder = Path(asked).expanduser()
    except RuntimeError as error:  # a home of nobody
        raise UsageError(f"--report {printable(asked)}: {error}", hint="give the name of a folder") from error
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Let pass what a report may be written into: a new folder, an older report, or one without files of these names.

    Raises:
        UsageError: It is something else; says what is in the way.
    """
    shown = printable(str(folder))
    if folder.is_file():
        raise UsageError(f"--report {shown} is a file", hint="give the name of a folder")
    for name in (CONFIG, BEST):
        if os.path.lexists(folder / name):
            raise UsageError(
                f"{shown} is the folder of a run (it holds {name}), whose own report would be lost",
                hint=f"give {printable(str(folder / 'val'))} or another folder",
            )
    foreign = next((name for name in _WRITTEN if os.path.lexists(folder / name)), None)
    if foreign is not None and not _is_report(folder):
        raise UsageError(
            f"{printable(str(folder / foreign))} would be replaced, but is not of a report of dat",
            hint="give another folder",
        )


def _is_report(folder: Path) -> bool:
    path = folder / RESULT
    if not path.is_file():
        return False
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.keys() >= _SAID
