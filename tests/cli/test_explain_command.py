"""``dat explain``: what is written, what is printed, and what is said when it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dat_cli.cli.main import main
from dat_cli.interpret.pictures import points
from dat_cli.weights import read_config, read_tensors, write_weights

PICTURES = ["points", "attention", "saliency", "compare"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, size in (("cat.png", (90, 60)), ("dogs/cat.jpg", (40, 80))):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(name)
    return tmp_path


def explain(run: Path, *words: str) -> int:
    return main(["explain", *words, "--weights", str(run), "--size", "400"])


def read(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_four_pictures_of_each_image_are_written_and_named(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(trained_run, "cat.png", "dogs", "--output", "out/new") == 0
    named = capsys.readouterr().out.split()
    expected = [f"out/new/{name}-{picture}.png" for name in ("cat", "cat-2") for picture in PICTURES]
    assert named == expected
    for name in named:
        with Image.open(name) as picture:
            assert max(picture.size) == 400
            assert np.asarray(picture).std() > 10
    assert sorted(path.name for path in Path("out/new").iterdir()) == sorted(Path(name).name for name in named)


def test_points_are_drawn_where_the_numbers_say(
    trained_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The centre of each disc in the file has the colour of its group."""
    Image.new("RGB", (90, 60), "white").save("white.png")
    figures = []
    draw = points.draw_points

    def keep(*args: Any, **options: Any) -> Any:
        figures.append(draw(*args, **options))
        return figures[-1]

    monkeypatch.setattr("dat_cli.run.explain.draw_points", keep)
    wanted = ("--picture", "points", "--block", "3.6", "--group", "2")
    assert explain(trained_run, "white.png", *wanted, "--output", ".") == 0
    capsys.readouterr()
    assert explain(trained_run, "white.png", *wanted, "--format", "json") == 0
    (block,) = read(capsys)[0]["points"]
    (group,) = block["groups"]
    assert group["group"] == 2
    with Image.open("white-points.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    (figure,) = figures
    transform = figure.axes[0].transData
    colours = set()
    for place in group["positions"]:
        x, y = transform.transform(place)
        colours.add(tuple(pixels[pixels.shape[0] - 1 - int(y), int(x)]))
    assert len(colours) == 1
    assert np.ptp(colours.pop()) > 60  # a colour, neither the white of the image nor the black of a cross


def test_the_numbers_are_one_list(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(trained_run, "cat.png", "dogs", "--format", "json", "--query", "10,20", "--query", "30,40") == 0
    first, second = read(capsys)
    assert first["path"] == "cat.png"
    assert second["path"] == "dogs/cat.jpg"
    assert second["image"] == {"width": 40, "height": 80}
    assert [block["block"] for block in first["points"]] == ["3.2", "3.4", "3.6", "4.2"]
    assert [look["query"] for look in first["attention"][0]["queries"]] == [[10, 20], [30, 40]]
    for look in first["attention"][0]["queries"]:
        assert sum(look["weights"]) == pytest.approx(1, abs=1e-5)
        assert len(look["keys"]) == len(look["weights"]) == len(look["groups"])
    rows, columns = len(first["saliency"]["y"]), len(first["saliency"]["x"])
    assert np.shape(first["saliency"]["rollout"]) == (rows, columns) == (8, 8)
    assert set(first["compare"]["networks"]) == {"ViT", "Swin", "Swin, shifted", "PVT", "DCN", "DAT"}
    assert sum(first["compare"]["map"]["x"]) / len(first["compare"]["map"]["x"]) == pytest.approx(45)


def test_another_size_of_the_input_has_more_points(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ("--picture", "points", "--format", "json", "--image_size", "96")
    assert explain(trained_run, "cat.png", *wanted) == 0
    (record,) = read(capsys)
    assert record["input"]["width"] == 96
    assert record["points"][0]["grid"] == [6, 6]
    assert len(record["points"][0]["reference"]) == 36


def test_svg_and_standard_input(trained_run: Path) -> None:
    command = [sys.executable, "-m", "dat_cli", "explain", "-", "--picture", "attention,points", "--format", "svg"]
    command += ["--weights", str(trained_run), "--head", "all", "--block", "3.6"]
    image = Path("cat.png").read_bytes()
    done = subprocess.run(command, input=image, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split() == ["explained/stdin-attention.svg", "explained/stdin-points.svg"]
    assert "<svg" in Path("explained/stdin-points.svg").read_text(encoding="utf-8")


def test_what_cannot_be_read_is_named_and_the_rest_is_drawn(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.jpg").write_text("no image")
    Image.new("RGB", (20, 20)).save("small.png")
    wanted = ("--picture", "compare", "--query", "30,40", "--output", "out")
    assert explain(trained_run, "bad.jpg", "small.png", "cat.png", *wanted) == 1
    out, err = capsys.readouterr()
    assert out == "out/cat-compare.png\n"
    assert "cannot read bad.jpg" in err
    assert "query 30,40 is outside of small.png, which has 20 x 20 pixels" in err
    assert "2 of 3 images could not be explained" in err


def test_files_of_others_are_never_overwritten_and_own_pictures_not_explained(
    trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--picture", "saliency", "--output", ".")
    assert explain(trained_run, ".", *wanted) == 0
    assert explain(trained_run, ".", *wanted) == 0  # cat-saliency.png lies among the images now
    assert capsys.readouterr().out.split() == 2 * ["cat-saliency.png", "cat-2-saliency.png"]
    Path("cat-points.png").write_bytes(Path("cat.png").read_bytes())
    assert explain(trained_run, "cat.png", "--picture", "points", "--output", ".") == 2
    assert "cat-points.png is no picture of dat explain" in capsys.readouterr().err
    assert Path("cat-points.png").read_bytes() == Path("cat.png").read_bytes()


def test_names_of_any_script_and_length(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = 80 * "日"
    Path("cat.png").rename(f"{name}.png")
    assert explain(trained_run, f"{name}.png", "--picture", "points", "--output", ".") == 0
    (written,) = capsys.readouterr().out.split()
    assert written == f"{60 * '日'}-points.png"
    assert Path(written).is_file()


def test_a_place_that_was_cut_off_is_said(trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The middle of the photograph is all that weights with a centre crop are given."""
    run = Path("cropped.safetensors")
    config = read_config(trained_run / "best.safetensors")
    preprocessing = replace(config.preprocessing, crop_mode="center", crop_pct=0.5)
    write_weights(run, read_tensors(trained_run / "best.safetensors"), replace(config, preprocessing=preprocessing))
    assert explain(run, "cat.png", "--picture", "compare", "--query", "3,3", "--query", "45,30") == 0
    err = capsys.readouterr().err
    assert "query 3,3 of cat.png is outside of what the network is given, 30,15 to 60,45: the nearest cell" in err
    assert "query 45,30" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--picture", "pionts"], "did you mean 'points'"),
        (["--block", "5.1"], "no block '5.1'; stage and block, from 1; deformable are 3.2, 3.4, 3.6, 4.2"),
        (["--block", "3.1", "--picture", "points"], "only deformable blocks have sampling points"),
        (["--block", "3.6", "--head", "1", "--group", "3"], "head 1 of block 3.6 is of group 1"),
        (["--picture", ""], "--picture: it is empty"),
        (["--head", "all", "--query", "1,1", "--query", "2,2"], "120 panels of attention are too small"),
        (["--block", "3.1", "--group", "1"], "block 3.1 has no group 1; only deformable blocks have groups"),
        (["--head", "13"], "block 3.2 has no head 13; it has 12, counted from 1"),
        (["--group", "4", "--block", "3.2,4.2"], "block 3.2 has no group 4; it has 3"),
        (["--head", "0"], "'0' is not a whole number from 1"),
        (["--class", "eleven"], "no class 'eleven'"),
        (["--query", "1;2"], "'1;2' is not a place such as 120,80"),
        (["--query", "nan,2"], "is not a place"),
        (["--size", "7"], "from 200 to 8000"),
        (["--format", "json", "--output", "out"], "--output is a folder for pictures"),
        (["--output", "cat.png"], "--output cat.png cannot be a folder: it is a file"),
        (["saliency"], "a picture is chosen with --picture saliency"),
        (["--image_size", "16"], "32 to 4096"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(
    trained_run: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["explain", "cat.png", "--weights", str(trained_run), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("dat: error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not Path("explained").exists()
