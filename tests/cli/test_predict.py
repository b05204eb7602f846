"""``dat predict`` as people type it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.main import main
from dat_cli.cli.predict import images_first
from dat_cli.models import create_model
from dat_cli.weights import WeightsConfig, write_weights

if TYPE_CHECKING:
    from tests.conftest import Hub

CLASSES = tuple(f"class {index}" for index in range(7))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network = create_model("dat_tiny", num_classes=len(CLASSES), img_size=32)
    config = WeightsConfig("dat_tiny", CLASSES, Preprocessing(input_size=(3, 32, 32)), model_args={"img_size": 32})
    write_weights(folder / "best.safetensors", network.state_dict(), config)
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for index in range(7):
        pixels = np.random.default_rng(index).integers(0, 255, (30 + index, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / ("sub" if index > 4 else "") / f"{index}.png")
    return tmp_path / "photos"


@pytest.mark.usefixtures("photos")
def test_images_folders_and_patterns_in_one_call_as_clean_json(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["predict", "photos/3.png", "--weights", run_folder, "photos/sub", "--format=json", "photos/[0-3].png"]
    assert main([*args, "--top_k", "2"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["path"] for record in records] == [
        "photos/3.png",
        *(f"photos/sub/{index}.png" for index in (5, 6)),
        *(f"photos/{index}.png" for index in range(3)),
    ]
    assert all(len(record["predictions"]) == 2 for record in records)


@pytest.mark.usefixtures("photos")
def test_the_table_names_five_classes_of_each_image(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos/0.png", "photos/1.png", "--weights", run_folder]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "class", "probability"]
    assert [row.split()[0] for row in rows[::5]] == ["photos/0.png", "photos/1.png"]
    assert all(row.endswith(" %") for row in rows)
    assert len(rows) == 10


def test_a_damaged_image_is_named_and_the_rest_is_predicted(
    photos: Path, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:200])
    assert main(["predict", "photos", "--weights", run_folder, "--output", "out.csv", "--top_k", "99"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "photos/2.png" in err.splitlines()[1]
    assert err.splitlines()[-1] == "dat: error: 1 of 7 images could not be read"
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    assert len({row["path"] for row in rows}) == 6
    assert len(rows) == 6 * len(CLASSES)


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("photos --weights nothing", "there are no weights 'nothing'"),
        ("photos --weights photos", "not the folder of a run"),
        ("--weights RUN", "no images given"),
        ("gone.jpg lost.jpg photos --weights RUN", "there is no 'gone.jpg', 'lost.jpg'"),
        ("photos --weights RUN --top_k 0", "--top_k"),
        ("photos --weights RUN --format xml", "--format"),
        ("photos --weights RUN --output out.doc", "pass --format"),
        ("photos --weights RUN --output no/where.csv", "cannot be written"),
        ("photos --weights RUN --wieghts x", "did you mean --weights?"),
        ("photos --weights", "--weights needs a value"),
        ("photos --weights RUN --trainer.accelerator gppu", "trainer"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    run_folder: str, options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *options.replace("RUN", run_folder).split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len([line for line in err.splitlines() if not line.startswith("dat: weights ")]) == 1
    assert not list(Path().glob("out*"))


@pytest.mark.usefixtures("photos")
def test_without_weights_those_of_the_default_variant_are_used(
    hub: Hub, run_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", run_folder, str(tmp_path / "layout")]) == 0
    for file in (tmp_path / "layout").iterdir():
        hub.plant("tester/dat_tiny", file.name, file.read_bytes(), lfs=file.suffix == ".safetensors")
    hub.use(DAT_HUB_OWNER="tester")
    capsys.readouterr()
    assert main(["predict", "photos/0.png", "--top_k", "1", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("photos/0.png,")
    assert "dat: weights tester/dat_tiny@" in err


@pytest.mark.usefixtures("photos", "hub")
def test_without_weights_and_without_a_network_the_ways_on_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos/0.png"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "no weights of dat_tiny within reach" in err.splitlines()[-1]
    assert "--weights PATH" in err.splitlines()[-1]


@pytest.mark.usefixtures("photos")
def test_two_processes_give_every_image_once_and_in_order(run_folder: str) -> None:
    command = [sys.executable, "-m", "dat_cli", "predict", "photos", "--weights", run_folder, "--batch_size", "2"]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--output", "out.jsonl"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads of two processes would spin for the same few cores
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line.split()[:2] for line in done.stderr.splitlines()] == [["dat:", "weights"]]
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert sorted(record["path"] for record in records) == sorted(map(str, Path("photos").rglob("*.png")))
    assert main(["predict", "photos", "--weights", run_folder, "--output", "one.jsonl"]) == 0
    alone = [json.loads(line) for line in Path("one.jsonl").read_text().splitlines()]
    assert [record["path"] for record in records] == [record["path"] for record in alone]
    assert [record["predictions"][0]["index"] for record in records] == [
        record["predictions"][0]["index"] for record in alone
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["one.jsonl", "out.jsonl", "photos"]


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("a --top_k 3 b --format=csv c", "a b c --top_k 3 --format=csv"),
        ("--weights run a b", "a b --weights run"),
        ("a --help b", "a b --help"),
        ("--weights run -- a -b", "a ./-b --weights run"),
        ("a --weights", "a --weights"),
    ],
)
def test_options_may_stand_anywhere(typed: str, understood: str) -> None:
    assert images_first(["predict", *typed.split()]) == ["predict", *understood.split()]
