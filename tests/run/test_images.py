"""Which files a command line means."""

from __future__ import annotations

import io
import sys
import tracemalloc
from pathlib import Path

import pytest

from dat_cli.data.open_image import standard_input
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


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.usefixtures("photos")
def test_addresses_and_standard_input_stand_among_files(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe_in(monkeypatch, b"an image")
    address = "https://example.org/a.jpg?size=1&key[]=*"  # which is no pattern
    images = ImagePaths([address, "photos/a.jpg", "-", address])
    assert list(images) == [address, "photos/a.jpg", "-"]
    assert images.from_pipe


def test_an_address_that_is_none_is_refused_before_anything_is_done() -> None:
    with pytest.raises(DataError, match="is no address of a web server"):
        ImagePaths(["https://"])


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("listed", ["list.txt", "-"])
def test_a_list_gives_its_lines_as_they_stand_after_the_arguments(listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"\xef\xbb\xbfgone.jpg\r\n\nphotos/*.jpg\nhttps://example.org/a.jpg\ncaf\xe9.jpg\n-\ngone.jpg"
    Path("list.txt").write_bytes(lines)
    pipe_in(monkeypatch, lines)
    images = ImagePaths(["photos/a.jpg"], listed=listed)
    expected = ["gone.jpg", "photos/*.jpg", "https://example.org/a.jpg", "caf\udce9.jpg", "./-", "gone.jpg"]
    for _ in range(2):
        assert list(images) == ["photos/a.jpg", *expected]
    assert images.from_pipe == (listed == "-")
    one, other = iter(images), iter(images)
    assert [next(one), next(one), next(other), next(other)] == ["photos/a.jpg", "gone.jpg"] * 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"\n\n", "no images in the list list.txt"),
        (b"a.jpg\n" + b"x" * 20_000, "line 2 of list.txt is too long"),
        (None, "cannot read the list list.txt: no such file"),
    ],
)
def test_what_is_no_list_is_named(
    lines: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if lines is not None:
        Path("list.txt").write_bytes(lines)
    with pytest.raises(DataError, match=said):
        list(ImagePaths([], listed="list.txt"))


def test_an_image_and_a_list_cannot_both_come_on_standard_input() -> None:
    with pytest.raises(DataError, match="cannot both come on standard input"):
        ImagePaths(["-"], listed="-")


def test_a_long_list_is_not_held_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("w") as file:
        file.writelines(f"photos/{index:060}.jpg\n" for index in range(20_000))
    images = ImagePaths([], listed=str(tmp_path / "list.txt"))
    tracemalloc.start()
    assert sum(1 for _ in images) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000  # the file has 1.5 MB
