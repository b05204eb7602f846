"""``metrics.csv``: a row for each epoch, none missing and none twice, however often the run is stopped."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from dat_cli.whole import whole_file

COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_acc1", "val_acc5", "val_f1", "lr")


def keep_rows(path: Path, epochs: int) -> None:
    """Start the table, or drop what stands after the epoch that a resumed run goes on from.

    Args:
        path: The table.
        epochs: Epochs that are done; they count from 1.

    Raises:
        OSError: It cannot be written.
    """
    kept: list[dict[str, str]] = []
    if path.exists():
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # a row that was being written has no end
        rows = csv.DictReader(io.StringIO(whole))
        kept = [row for row in rows if (row["epoch"] or "").isdecimal() and int(row["epoch"]) <= epochs]
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)


def add_row(path: Path, row: Mapping[str, object]) -> None:
    """Add an epoch.

    Args:
        path: The table.
        row: Values by names of ``COLUMNS``; others are left out.

    Raises:
        OSError: It cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="ignore").writerow(row)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
