"""The pictures of a run: that they are whole, readable and of bounded size, whatever the run was."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dat_cli.report.canvas import alone, short
from dat_cli.report.confusion import MOST, draw_confusion, extract
from dat_cli.report.curves import best_row, draw_all_curves, draw_curves, read_curves
from dat_cli.report.findings import Findings
from dat_cli.report.mistakes import draw_mistakes

Make = Callable[..., Findings]


def _texts(svg: str) -> list[str]:
    return [text for part in ElementTree.fromstring(alone(svg)).iter() for text in (part.text or "",) if text.strip()]


@pytest.mark.parametrize("classes", [2, 10, 30])
def test_a_map_of_few_classes_names_all_and_counts_all(make: Make, classes: int) -> None:
    svg = draw_confusion(make(classes))
    assert svg is not None
    texts = _texts(svg)
    assert {f"class {index}" for index in range(classes)} <= set(texts)
    assert texts.count("3") == classes


@pytest.mark.parametrize("classes", [100, 1000])
def test_a_map_of_many_classes_shows_those_that_are_confused_most(make: Make, classes: int) -> None:
    findings = make(classes)
    findings.confusion[70, 20] = 50
    part = extract(findings)
    assert part.chosen[:2] == [70, 20]
    assert len(part.chosen) == MOST
    assert part.counts.sum() == findings.confusion[part.chosen].sum()  # what is left out stands in the last column
    svg = draw_confusion(findings)
    assert svg is not None
    assert {"class 70", "class 20", "others"} <= set(_texts(svg))
    assert len(svg) < 300_000


def test_many_classes_without_a_mistake_need_no_map() -> None:
    right = Findings("val", tuple(map(str, range(50))), np.eye(50, dtype=np.int64), (), {})
    assert draw_confusion(right) is None


def test_names_that_are_markup_or_formulas_stay_names(make: Make) -> None:
    svg = draw_confusion(make(3, ("<b>&amp;", "$x$", "猫")))
    assert svg is not None
    assert {"<b>&amp;", "$x$", "猫"} <= set(_texts(svg))


def test_curves_show_what_there_is_and_mark_the_best_epoch(run: Path) -> None:
    curves = read_curves(run)
    assert best_row(curves) == 1
    assert len(draw_curves(curves)) == 3
    svg = draw_all_curves(curves)
    assert svg is not None
    assert {"Loss", "Accuracy on validation images", "Learning rate", "80%"} <= set(_texts(svg))


@pytest.mark.parametrize(
    ("table", "panels"),
    [
        ("", 0),
        ("epoch,train_loss\n", 0),
        ("epoch,train_loss,val_loss,val_acc1,lr\n1,0.5,,,0.1\n", 2),
        ("epoch,train_loss,val_loss,val_acc1,lr\n1,nan,inf,nan,0.1\n", 1),
        ("epoch,train_loss,val_loss\n1,0.5,0.6\n2,0.4", 1),
    ],
    ids=["empty", "no row", "no validation", "not finite", "broken off"],
)
def test_an_unfinished_table_draws_what_it_has(tmp_path: Path, table: str, panels: int) -> None:
    (tmp_path / "metrics.csv").write_text(table)
    assert len(draw_curves(read_curves(tmp_path))) == panels


def test_a_picture_alone_has_a_ground_and_in_a_page_takes_its_colours(run: Path) -> None:
    svg = draw_all_curves(read_curves(run))
    assert svg is not None
    assert "currentColor" in svg
    assert "background" not in svg
    assert "prefers-color-scheme:dark" in alone(svg)
    assert not re.search(r'id="\w+_\d+"', svg)  # ids that every figure has


@pytest.mark.parametrize(("mistakes", "rows"), [(1, 1), (7, 2), (24, 4)])
def test_mistakes_are_a_grid(make: Make, mistakes: int, rows: int) -> None:
    data = draw_mistakes(make(10, mistakes=mistakes))
    assert data is not None
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.height == pytest.approx(110 * (2.3 * rows + 0.45), abs=2)


def test_no_mistake_is_no_picture(make: Make) -> None:
    assert draw_mistakes(make(10, mistakes=0)) is None


def test_long_names_keep_both_ends() -> None:
    assert short("n02085620 Chihuahua of the mountains") == "n02085620 C… mountains"
    assert short("a\nb") == "a\\nb"
