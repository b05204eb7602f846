"""The page of a run."""

from __future__ import annotations

from pathlib import Path

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Draw the pictures of a run folder and write its page, from the files that are there.

    Returns:
        The page.
    """
    return folder / REPORT
