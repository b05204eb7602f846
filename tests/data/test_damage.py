from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dat_cli.data.damage import find_damaged, leave_out_damaged
from dat_cli.data.samples import Samples
from dat_cli.errors import DataError

MakeFolder = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture
def parts(tmp_path: Path, make_folder: MakeFolder) -> dict[str, Samples]:
    """Two classes of three training and two validation images."""
    make_folder(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1})
    return {
        "train": Samples(tuple(sorted(tmp_path.glob("train/*/*"))), (0, 0, 0, 1, 1, 1)),
        "val": Samples(tuple(sorted(tmp_path.glob("val/*/*"))), (0, 1)),
    }


def damage(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-50])
    return path


def test_every_truncated_file_is_found_among_many(tmp_path: Path, make_folder: MakeFolder) -> None:
    paths = sorted(make_folder(tmp_path, {"a": 300}).glob("a/*"))
    damaged = {damage(paths[index]) for index in (0, 31, 32, 299)}
    found = find_damaged(paths)
    assert set(found) == damaged
    assert all(str(path) in error for path, error in found.items())


def test_whole_files_are_kept_and_counted(parts: dict[str, Samples], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dat")
    assert leave_out_damaged(parts, ["a", "b"], skip=False) == parts
    assert "checked 8 images" in caplog.text


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_damaged_file_of_any_part_is_an_error_that_names_it(parts: dict[str, Samples], part: str) -> None:
    path = damage(parts[part].paths[0])
    with pytest.raises(DataError, match=r"truncated") as caught:
        leave_out_damaged(parts, ["a", "b"], skip=False)
    assert str(path) in caught.value.message
    assert "--data.damaged skip" in str(caught.value.hint)


def test_all_damaged_files_are_named(parts: dict[str, Samples], caplog: pytest.LogCaptureFixture) -> None:
    first, second = damage(parts["train"].paths[0]), damage(parts["val"].paths[1])
    with pytest.raises(DataError, match="and 1 more") as caught:
        leave_out_damaged(parts, ["a", "b"], skip=False)
    assert str(first) in caught.value.message
    assert str(second) in caplog.text


def test_skipped_files_are_named_and_counted(parts: dict[str, Samples], caplog: pytest.LogCaptureFixture) -> None:
    paths = [damage(parts["train"].paths[4]), damage(parts["val"].paths[0])]
    kept = leave_out_damaged(parts, ["a", "b"], skip=True)
    assert [len(kept["train"]), len(kept["val"])] == [5, 1]
    assert kept["train"].labels == (0, 0, 0, 1, 1)
    assert all(str(path) in caplog.text for path in paths)
    assert "left out 2 damaged images of 8" in caplog.text


def test_a_class_that_loses_all_images_is_an_error(parts: dict[str, Samples]) -> None:
    for path in parts["train"].paths[3:]:
        damage(path)
    with pytest.raises(DataError, match="all images of class b are damaged"):
        leave_out_damaged(parts, ["a", "b"], skip=True)


def test_a_validation_without_images_is_an_error(parts: dict[str, Samples]) -> None:
    for path in parts["val"].paths:
        damage(path)
    with pytest.raises(DataError, match="all images for val are damaged"):
        leave_out_damaged(parts, ["a", "b"], skip=True)
