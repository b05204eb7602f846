"""The scripts of the docs do what the pages say of them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def _draw(folder: Path, *words: str) -> dict[str, bytes]:
    """The pixels of what ``half_the_digits.py`` draws, by the paths of its files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["half_the_digits.py", str(folder), *words])
        runpy.run_path(str(EXAMPLES / "half_the_digits.py"), run_name="__main__")
    images = {path.relative_to(folder).as_posix(): Image.open(path) for path in folder.rglob("*.png")}
    assert {image.size for image in images.values()} == {(32, 32)}
    return {name: image.tobytes() for name, image in images.items()}


def test_half_the_digits_are_known_and_half_are_new(tmp_path: Path) -> None:
    drawn = _draw(tmp_path / "half", "7")
    folders = [name.rpartition("/")[0] for name in drawn]
    assert {folder: folders.count(folder) for folder in folders} == {
        **{f"known/{digit}_{turn}": 80 for digit in range(5) for turn in (0, 90, 180, 270)},
        **{f"new/train/{digit}": 7 for digit in range(5, 10)},
        **{f"new/val/{digit}": 60 for digit in range(5, 10)},
    }


def test_a_seed_draws_the_same_again_and_another_something_else(tmp_path: Path) -> None:
    first, again, other = (
        _draw(tmp_path / name, "2", seed) for name, seed in (("first", "1"), ("again", "1"), ("other", "2"))
    )
    assert first == again
    assert first != other


def test_the_nearest_neighbours_are_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    angles = np.array([0.0, 90.0, 10.0, 180.0, 5.0, 40.0])
    vectors = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "v.csv").write_text("path\n" + "".join(f"{angle:.0f}.png\n" for angle in angles), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["nearest.py", str(tmp_path / "v.npy"), "0.png"])
    runpy.run_path(str(EXAMPLES / "nearest.py"), run_name="__main__")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [name for _, name in lines] == ["5.png", "10.png", "40.png", "90.png", "180.png"]
    assert lines[0][0] == "0.996"


def test_digits_are_covered_where_maps_say(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cover.py", str(trained_run), "2"])
    runpy.run_path(str(EXAMPLES / "cover.py"), run_name="__main__")
    lines = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, *_ in lines[1:]] == [
        "nothing",
        "weighted by gradients",
        "attention rollout",
        "brightness",
        "chance",
    ]
    percent = [[float(value.rstrip("%")) for value in values] for _, *values in lines[1:]]
    assert percent[0][0] == percent[0][1]
    assert all(0 < value < 100 for row in percent for value in row)
    assert len({tuple(row) for row in percent}) == 5


def test_each_step_of_loading_has_its_cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["loading.py", "digits", "32"])
    runpy.run_path(str(EXAMPLES / "loading.py"), run_name="__main__")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name for name, *_ in rows] == ["read", "crop", "mirror", "distort", "normalize", "erase", "collate", "mix"]
    assert {"distort", "erase", "mix"} <= {name for name, plain, _ in rows if plain == "0.00"}
