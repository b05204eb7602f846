"""Which files a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from dat_cli.errors import DataError
from dat_cli.run.images import ImagePaths


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("a.jpg", "b.JPG", "c.txt", "sub/d.png", "sub/deep/e.jpg", "sub/.hidden.jpg", ".git/f.jpg", "x[1].jpg")
    for name in names:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    (tmp_path / "photos" / "sub" / "loop").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photos"], ["a.jpg", "b.JPG", "sub/d.png", "sub/deep/e.jpg", "x[1].jpg"]),
        (["photos/*.jpg"], ["a.jpg", "x[1].jpg"]),
        (["photos/**/*.jpg"], ["a.jpg", "x[1].jpg", "sub/deep/e.jpg"]),
        (["photos/**"], ["a.jpg", "b.JPG", "x[1].jpg", "sub/d.png", "sub/deep/e.jpg"]),
        (["photos/**/deep/**/*"], ["sub/deep/e.jpg"]),
        (["photos/*/d.*"], ["sub/d.png"]),
        (["photos/x[1].jpg"], ["x[1].jpg"]),
        (["photos/[ab].*"], ["a.jpg", "b.JPG"]),
        (["photos/c.txt"], ["c.txt"]),
        (["photos/sub", "photos/a.jpg", "photos"], ["sub/d.png", "sub/deep/e.jpg", "a.jpg", "b.JPG", "x[1].jpg"]),
        (["photos/a.jpg", "./photos/a.jpg", "photos/sub/../a.jpg"], ["a.jpg"]),
    ],
)
def test_files_folders_and_patterns_give_each_file_once_in_order(arguments: list[str], expected: list[str]) -> None:
    paths = list(ImagePaths(arguments))
    if arguments == ["photos"]:
        paths.sort()  # where sub-folders come among files is the walk's business
    assert paths == [f"photos/{name}" for name in expected]


def test_an_absolute_pattern_works(photos: Path) -> None:
    assert list(ImagePaths([f"{photos}/photos/s*/*"])) == [f"{photos}/photos/sub/d.png"]


@pytest.mark.usefixtures("photos")
def test_iterating_twice_gives_the_same() -> None:
    paths = ImagePaths(["photos/a.jpg", "photos"])
    assert list(paths) == list(paths)


def test_all_missing_files_are_counted_and_some_named() -> None:
    with pytest.raises(DataError, match="there is no 'n0', 'n1', 'n2' and 5 more"):
        ImagePaths([f"n{index}" for index in range(8)])


def test_a_folder_and_a_pattern_without_images_are_named(tmp_path: Path) -> None:
    for argument in (str(tmp_path), f"{tmp_path}/*.jpg"):
        with pytest.raises(DataError, match="no images in"):
            ImagePaths([argument])


def test_nothing_given_is_an_error() -> None:
    with pytest.raises(DataError, match="no images given"):
        ImagePaths([])
