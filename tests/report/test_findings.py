"""What a measurement says about classes, and its files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from dat_cli.errors import DataError
from dat_cli.report.files import read_findings, write_findings
from dat_cli.report.findings import Findings

Make = Callable[..., Findings]


def test_scores_of_classes_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    truth, predicted = random.integers(0, 5, (2, 300))
    confusion = np.zeros((5, 5), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    rows = Findings("val", tuple("abcde"), confusion, (), {}).per_class()
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted)
    assert [row.precision for row in rows] == pytest.approx(precision)
    assert [row.recall for row in rows] == pytest.approx(recall)
    assert [row.f1 for row in rows] == pytest.approx(f1)
    assert [row.images for row in rows] == support.tolist()


def test_a_class_without_pictures_has_no_recall_and_one_never_given_no_precision() -> None:
    first, second, third = Findings(
        "val", ("a", "b", "c"), np.array([[3, 1, 0], [0, 0, 0], [0, 2, 0]]), (), {}
    ).per_class()
    assert (first.recall, first.confused_with, first.confused) == (0.75, "b", 1)
    assert (second.recall, second.precision, second.confused_with) == (None, 0.0, None)
    assert (third.recall, third.precision, third.f1) == (0.0, None, 0.0)


def test_confusions_are_counted_from_the_most_frequent() -> None:
    findings = Findings("val", ("a", "b"), np.array([[1, 3], [5, 5]]), (), {})
    assert findings.confusions(9) == [("b", "a", 5, 0.5), ("a", "b", 3, 0.75)]
    assert len(findings.confusions(1)) == 1


@pytest.mark.parametrize("side", [8, 200])
def test_what_is_written_is_read_again(tmp_path: Path, make: Make, side: int) -> None:
    written = make(3, ('"a",\n', "b\u202e", "=c"), mistakes=2, side=side)
    write_findings(tmp_path, written)
    read = read_findings(tmp_path)
    assert read is not None
    assert (read.part, read.classes, read.scores) == (written.part, written.classes, written.scores)
    assert np.array_equal(read.confusion, written.confusion)
    assert [mistake.name for mistake in read.mistakes] == ["photos/0.jpg", "photos/1.jpg"]
    assert read.mistakes[0].image.shape == (side, side, 3)
    if side == 8:
        assert np.array_equal(read.mistakes[0].image, written.mistakes[0].image)


def test_the_table_of_classes_is_one_for_spreadsheets(tmp_path: Path, make: Make) -> None:
    write_findings(tmp_path, make(3))
    with (tmp_path / "classes.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["name"] == "class 0"
    assert (row["images"], row["correct"], row["recall"], row["confused_with"]) == ("4", "3", "0.75", "class 1")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="limits are of Unix")
def test_findings_that_do_not_fit_the_disk_leave_the_old_ones(tmp_path: Path, make: Make) -> None:
    import resource
    import signal

    write_findings(tmp_path, make(2, mistakes=0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_findings(tmp_path, make(3, mistakes=24, side=60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damaged_files_are_named_and_missing_ones_are_no_findings(tmp_path: Path, make: Make) -> None:
    assert read_findings(tmp_path) is None
    write_findings(tmp_path, make(3))
    said = json.loads((tmp_path / "mistakes.json").read_text())
    said["mistakes"][0]["indices"] = [0, 7]
    (tmp_path / "mistakes.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=f"cannot read what was measured in {tmp_path}"):
        read_findings(tmp_path)
