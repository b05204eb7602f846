from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from dat_cli.data.samples import Samples, Source
from dat_cli.data.sources import open_source
from dat_cli.errors import DataError

MakeFolder = Callable[[Path, Mapping[str, int]], Path]


def files(part: object) -> Samples:
    assert isinstance(part, Samples)
    return part


def names(part: object, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files(part).paths]


def error_of(root: Path, *, classes: Sequence[str] | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        open_source(str(root), classes=classes)
    assert str(caught.value).isprintable()
    return caught.value


def test_parts_are_read_as_they_lie(tmp_path: Path, make_folder: MakeFolder) -> None:
    counts = {"train/dog": 2, "train/cat": 3, "val/cat": 1, "val/dog": 1, "test/dog": 1}
    source = open_source(str(make_folder(tmp_path, counts)))
    assert source.classes == ("cat", "dog")
    assert names(source.train, tmp_path / "train") == ["cat/0.jpg", "cat/1.jpg", "cat/2.jpg", "dog/0.jpg", "dog/1.jpg"]
    assert files(source.train).labels == (0, 0, 0, 1, 1)
    assert files(source.val).labels == (0, 1)
    assert names(source.test, tmp_path) == ["test/dog/0.jpg"]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_the_validation_part_has_several_usual_names(tmp_path: Path, make_folder: MakeFolder, name: str) -> None:
    root = make_folder(tmp_path, {"train/a": 2, "train/b": 2, f"{name}/a": 1, f"{name}/b": 1})
    assert names(open_source(str(root)).val, root) == [f"{name}/a/0.jpg", f"{name}/b/0.jpg"]


def test_two_validation_parts_are_an_error(tmp_path: Path, make_folder: MakeFolder) -> None:
    error = error_of(make_folder(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "valid/a": 1}))
    assert "both val/ and valid/" in error.message


def test_classes_directly_in_the_folder_are_split_the_same_wherever_it_lies(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    first = make_folder(tmp_path / "here", {"cat": 10, "dog/brown": 5, "dog/white": 5, "one": 1})
    second = tmp_path / "elsewhere" / "copy"
    shutil.copytree(first, second)

    def parts(root: Path, seed: int = 0) -> tuple[list[str], list[str]]:
        source = open_source(str(root), seed=seed, val_fraction=0.3)
        return names(source.train, root), names(source.val, root)

    train, val = parts(first)
    assert parts(second) == (train, val)
    assert parts(first, seed=1) != (train, val)
    assert Counter(name.split("/")[0] for name in val) == {"cat": 3, "dog": 3}
    assert Counter(name.split("/")[0] for name in train) == {"cat": 7, "dog": 7, "one": 1}


def test_a_training_part_alone_is_split(tmp_path: Path, make_folder: MakeFolder) -> None:
    source = open_source(str(make_folder(tmp_path, {"train/a": 5, "train/b": 5})))
    assert source.classes == ("a", "b")
    assert Counter(files(source.val).labels) == {0: 1, 1: 1}


def test_a_class_may_be_called_train(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert open_source(str(make_folder(tmp_path, {"train": 3, "bus": 3, "tram": 3}))).classes == (
        "bus",
        "train",
        "tram",
    )


def test_a_class_that_only_validation_has_is_named(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dogs": 1})
    error = error_of(root)
    assert error.message == f"{root}/val has a class that train lacks: dogs"
    assert error.hint == "did you mean 'dog'?"


@pytest.mark.parametrize("empty", ["train/fish", "val/fish"])
def test_a_class_without_images_is_named(tmp_path: Path, make_folder: MakeFolder, empty: str) -> None:
    root = make_folder(tmp_path, {"train/cat": 2, "train/fish": 2, "val/cat": 1, "val/fish": 1})
    shutil.rmtree(root / empty)
    (root / empty).mkdir()
    (root / empty / "notes.txt").touch()
    (root / empty / "._0.jpg").touch()
    assert error_of(root).message == f"class fish has no images: {root}/{empty}"


def test_a_class_missing_from_validation_is_told(
    tmp_path: Path, make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    open_source(str(make_folder(tmp_path, {"train/cat": 2, "train/dog": 2, "val/cat": 1})))
    assert "no validation images of 1 classes: dog" in caplog.text


def test_one_class_is_nothing_to_learn(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert "only one class, cat" in error_of(make_folder(tmp_path, {"cat": 5})).message


def test_a_folder_around_the_data_is_recognised(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"pictures/cat": 2, "pictures/dog": 2, "__MACOSX/pictures": 1})
    assert error_of(root).hint == f"did you mean {root}/pictures?"


def test_folders_without_classes_are_errors(tmp_path: Path, make_folder: MakeFolder) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error_of(empty).message == f"{empty} has no folders of classes"
    flat = make_folder(tmp_path, {"flat": 3}) / "flat"
    assert error_of(flat).message == f"{flat} has 3 images but no folders of classes"
    (tmp_path / "unlearnt/val").mkdir(parents=True)
    assert "val/ but no train" in error_of(tmp_path / "unlearnt").message


def test_single_images_leave_nothing_for_validation(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert "validation" in error_of(make_folder(tmp_path, {"cat": 1, "dog": 1})).message


def test_hidden_folders_and_leftovers_are_no_classes(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"cat": 2, "dog": 2, ".thumbs": 2, "__MACOSX/cat": 2, ".ipynb_checkpoints": 1})
    assert open_source(str(root)).classes == ("cat", "dog")


def test_images_beside_the_classes_are_left_out_and_counted(
    tmp_path: Path, make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder(tmp_path, {"cat": 2, "dog": 2, ".": 3})
    source = open_source(str(root))
    assert len(source.train) + len(source.val) == 4
    assert caplog.text.count("left out 3 images") == 1


def test_link_loops_add_no_class_and_no_image(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"cat": 2, "dog": 2})
    (root / "loop").symlink_to(".")
    (root / "cat/up").symlink_to("..")
    (root / "cat/other").symlink_to("../dog")
    source = open_source(str(root))
    assert source.classes == ("cat", "dog")
    assert sorted(names(source.train, root) + names(source.val, root)) == [
        "cat/0.jpg",
        "cat/1.jpg",
        "dog/0.jpg",
        "dog/1.jpg",
    ]


def test_an_unlabelled_test_part_is_left_out(
    tmp_path: Path, make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "test": 3})
    assert open_source(str(root)).test is None
    assert "test" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_of_files_may_be_any_bytes_but_names_of_classes_are_text(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"Zoë 猫": 2, "dog": 2})
    strange = os.fsdecode(b"caf\xe9.jpg")
    (root / "dog/0.jpg").rename(root / "dog" / strange)
    source = open_source(str(root))
    assert source.classes == ("Zoë 猫", "dog")
    assert strange in [path.name for path in (*files(source.train).paths, *files(source.val).paths)]
    (root / "dog").rename(root / os.fsdecode(b"d\xf6g"))
    assert r"d\xf6g" in error_of(root).message


def measured(root: Path, classes: Sequence[str], fraction: float = 0.2) -> Source:
    return open_source(str(root), classes=classes, val_fraction=fraction)


def test_given_classes_number_the_labels(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"val/dog": 1, "val/cat": 2})
    source = measured(root, ["zebra", "dog", "cat"])
    assert files(source.val).labels == (2, 2, 1)
    assert not source.train
    error = error_of(root, classes=["dog", "car"])
    assert error.message == f"{root}/val has a class that the weights lack: cat"


def test_weights_are_measured_on_the_images_that_fit_held_out(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path, {"cat": 10, "dog": 10})
    assert measured(root, ["cat", "dog"]).val == open_source(str(root)).val
    assert len(measured(root, ["cat", "dog"], fraction=1.0).val) == 20


def test_one_known_class_can_be_measured(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert files(measured(make_folder(tmp_path, {"dog": 5}), ["cat", "dog"]).val).labels == (1,)
