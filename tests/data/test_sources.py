from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dat_cli.data.sources import Sample, Samples, open_source
from dat_cli.errors import DataError, DatError, UsageError


def pictures_of(part: object) -> Samples:
    assert isinstance(part, Samples)
    return part


def error_of(source: Path | str, *, classes: Sequence[str] | None = None, val_fraction: float = 0.2) -> DatError:
    with pytest.raises(DatError) as caught:
        open_source(str(source), classes=classes, val_fraction=val_fraction)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return caught.value


def test_digits_are_all_there_once_and_each_part_has_every_class() -> None:
    source = open_source("digits")
    assert source.test is not None
    parts = [pictures_of(part) for part in (source.train, source.val, source.test)]
    assert [len(part) for part in parts] == [1294, 324, 179]
    assert source.classes == tuple("0123456789")
    assert all(len(Counter(part.labels)) == 10 for part in parts)
    pictures = [image for part in parts for image in part.images]
    assert all(isinstance(image, Image.Image) and image.size == (8, 8) for image in pictures)
    assert source.flip == 0


def test_digits_have_one_test_part_for_all_seeds_and_the_seed_chooses_validation() -> None:
    def digest(part: object) -> str:
        images = pictures_of(part).images
        return hashlib.sha256(b"".join(np.asarray(image).tobytes() for image in images)).hexdigest()

    first, again, other = open_source("digits"), open_source("digits"), open_source("digits", seed=1)
    assert digest(first.val) == digest(again.val) != digest(other.val)
    assert digest(first.test) == digest(other.test)


def test_digits_have_the_labels_of_given_classes() -> None:
    source = open_source("digits", classes=["letter", *"9876543210"])
    plain = open_source("digits")
    assert [10 - label for label in pictures_of(source.val).labels] == list(pictures_of(plain.val).labels)
    assert "lack: 9" in error_of("digits", classes=list("012345678")).message


def test_samples_are_a_sequence_of_pictures_and_labels() -> None:
    samples = Samples((Path("a.jpg"), Path("b.jpg")), (1, 0))
    assert list(samples) == [Sample(Path("a.jpg"), 1), Sample(Path("b.jpg"), 0)]
    assert samples[1:].labels == (0,)
    assert samples[-1] == (Path("b.jpg"), 0)


@pytest.mark.parametrize("fraction", [-0.1, 0.0, 1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_an_error(fraction: float) -> None:
    error = error_of("digits", val_fraction=fraction)
    assert isinstance(error, UsageError)
    assert "val_fraction" in error.message


@pytest.mark.parametrize("source", ["", "  ", "a\0b", "\ud800", "x" * 5000, "~nobody-has-this-name/x", "s3://bucket/x"])
def test_what_is_no_path_is_an_error(source: str) -> None:
    assert isinstance(error_of(source), DataError)


def test_a_missing_folder_is_named_with_the_nearest_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flowers").mkdir()
    error = error_of(tmp_path / "flower")
    assert str(tmp_path / "flower") in error.message
    assert error.hint == "did you mean 'flowers'?"
    assert str(tmp_path) in str(error_of(tmp_path / "no" / "such" / "folder").hint)
    monkeypatch.chdir(tmp_path)
    assert error_of("digit").hint == "did you mean 'digits'?"


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "flowers.zip").touch()
    error = error_of(tmp_path / "flowers.zip")
    assert "is a file" in error.message
    assert error.hint == "unpack it and pass the folder"


def test_the_built_in_digits_are_not_mistaken_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert len(open_source("digits").train) == 1294
    assert "./digits" in caplog.text
