"""A folder of weights is replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dat_cli.errors import DatError
from dat_cli.weights.folder import layout_folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of old weights."""
    folder = tmp_path / "cats"
    folder.mkdir()
    (folder / "model.safetensors").write_text("old")
    return folder


def replace(place: Path) -> None:
    with layout_folder(place) as folder:
        (folder / "model.safetensors").write_text("new")


def contents(place: Path) -> dict[str, str]:
    """Of all files beside a folder and in it, hidden ones included."""
    files = (path for path in place.parent.rglob("*") if path.is_file())
    return {str(path.relative_to(place.parent)): path.read_text() for path in files}


def test_new_weights_take_the_place_of_old_ones(place: Path) -> None:
    replace(place)
    assert contents(place) == {"cats/model.safetensors": "new"}
    assert os.listdir(place.parent) == ["cats"]  # noqa: PTH208 - as short as can be


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), SystemExit(143), OSError(5, "Input/output error")])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("done", [False, True])
def test_an_interruption_at_either_rename_leaves_the_old_weights_or_the_new(
    place: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, number: int, done: bool
) -> None:
    renames = []
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) != number:
            return rename(self, target)
        if done:
            rename(self, target)  # a signal may arrive before the call and after it
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(type(failure)):
            replace(place)
    both_renamed = number == 2 and done
    assert contents(place) == {"cats/model.safetensors": "new" if both_renamed else "old"}
    replace(place)
    assert contents(place) == {"cats/model.safetensors": "new"}


def test_an_old_folder_that_cannot_be_put_back_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def only_away(self: Path, target: Path) -> Path:
        if target == place:
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", only_away)
        with pytest.raises(PermissionError):
            replace(place)
    assert list(contents(place).values()) == ["old"]


def test_a_full_disk_is_told_by_the_name_that_was_asked_for(place: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, layout_folder(place) as folder:
        raise OSError(28, "No space left on device", str(folder / "model.safetensors"))
    assert caught.value.filename == str(place)
    with pytest.raises(DatError) as told, layout_folder(place) as folder:
        raise DatError(f"cannot write {folder / 'model.safetensors'}: No space left on device")
    assert str(told.value) == f"cannot write {place / 'model.safetensors'}: No space left on device"
    assert contents(place) == {"cats/model.safetensors": "old"}
