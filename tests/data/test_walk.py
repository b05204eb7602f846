from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dat_cli.data.image import find_images
from dat_cli.data.walk import printable
from dat_cli.errors import DataError


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_pictures_are_found_at_any_depth_sorted_by_name_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.jpeg", "sub/deep/z.PnG", "c.Tif", "notes.txt", "no_suffix", "d.gif.txt")
    assert names(tmp_path) == ["a.jpeg", "b.JPG", "c.Tif", "sub/deep/z.PnG"]


def test_hidden_names_and_leftovers_are_no_pictures(tmp_path: Path) -> None:
    touch(
        tmp_path, ".hidden.jpg", "._a.jpg", ".git/a.jpg", "__MACOSX/a.jpg", "__MACOSX/._a.jpg", "@eaDir/a.jpg", "a.jpg"
    )
    assert names(tmp_path) == ["a.jpg"]


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/a.jpg")
    assert names(tmp_path / ".cache") == ["a.jpg"]


def test_sockets_pipes_and_broken_links_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe.jpg")
    Path("broken.jpg").symlink_to("nowhere.jpg")
    Path("circle.jpg").symlink_to("circle.jpg")
    Path("folder.jpg").mkdir()
    touch(tmp_path, "whole.jpg")
    Path("link.jpg").symlink_to("whole.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert names(tmp_path) == ["link.jpg", "whole.jpg"]


def test_a_link_loop_adds_nothing_twice(tmp_path: Path) -> None:
    touch(tmp_path, "data/cat/a.jpg", "data/dog/b.jpg", "pool/c.jpg")
    (tmp_path / "data/cat/self").symlink_to(".")
    (tmp_path / "data/cat/up").symlink_to("..")
    (tmp_path / "data/cat/top").symlink_to(tmp_path)
    (tmp_path / "data/cat/pool").symlink_to("../../pool")
    (tmp_path / "data/cat/pool_again").symlink_to("../../pool")
    (tmp_path / "pool/back").symlink_to("../data/cat")
    assert names(tmp_path / "data/cat") == ["a.jpg", "pool/c.jpg"]


def test_pictures_come_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b/c.jpg")
    found = find_images(tmp_path)
    next(found)
    touch(tmp_path, "b/b.jpg")  # a folder is read when its turn comes
    assert [path.name for path in found] == ["b.jpg", "c.jpg"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such file or directory"):
        list(find_images(tmp_path / "absent"))


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "open/a.jpg", "open/closed/a.jpg")
    (tmp_path / "open/closed").chmod(0o000)
    (tmp_path / "open").chmod(0o755)
    monkeypatch.chdir(tmp_path / "open")
    if os.geteuid() == 0:  # who may read everything becomes somebody else
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"closed: permission denied"):
            list(find_images(Path()))
    finally:
        os.seteuid(os.getuid())
        (tmp_path / "open/closed").chmod(0o700)


def test_names_become_one_line_of_text() -> None:
    assert printable("Zoë/猫.jpg") == "Zoë/猫.jpg"
    assert printable("a\x1b[31m\nb\udce9") == r"a\x1b[31m\nb\xe9"
