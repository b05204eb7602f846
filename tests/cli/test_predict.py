"""``dat predict`` as people type it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.cli.early import images_first
from dat_cli.cli.main import main
from dat_cli.data import remote_file
from dat_cli.data.image import load_image
from dat_cli.data.open_image import standard_input
from dat_cli.models import create_model
from dat_cli.run import spool
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
        ("photos --weights RUN --threshold 2", "--threshold"),
        ("photos --weights RUN --resume true", "--resume needs --output"),
        ("photos --weights RUN --resume true --output /dev/null --format csv", "/dev/null is no file"),
        ("--list gone.txt --weights RUN", "cannot read the list gone.txt: no such file"),
        ("https:// --weights RUN", "is no address of a web server"),
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


# Images from elsewhere


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_file, "_PAUSE", 0.001)


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_addresses_standard_input_and_a_list_are_predicted_as_files_are(
    workers: str,
    hub: Hub,
    photos: Path,
    run_folder: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = hub.serve("/0.png", (photos / "0.png").read_bytes())
    pipe_in(monkeypatch, (photos / "0.png").read_bytes())
    Path("list.txt").write_text(f"photos/0.png\n{hub.url}/gone.png\n")
    args = ["predict", address, "-", "--list", "list.txt", "--weights", run_folder, "--format", "jsonl"]
    assert main([*args, "--num_workers", workers]) == 1
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["path"] for record in records] == [address, "-", "photos/0.png", f"{hub.url}/gone.png"]
    assert records[0]["predictions"] == records[1]["predictions"] == records[2]["predictions"]
    assert "gone.png: the server answered 404" in records[3]["error"]
    assert err.splitlines()[-1] == "dat: error: 1 of 4 images could not be read"


@pytest.mark.usefixtures("_impatient")
def test_a_network_that_is_down_is_the_failure_of_each_image(
    run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "http://127.0.0.1:9/a.png", "--weights", run_folder]) == 1
    assert "127.0.0.1:9/a.png: connection refused" in capsys.readouterr().err


@pytest.mark.usefixtures("photos")
def test_several_processes_do_not_share_standard_input(
    run_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, b"photos/0.png")
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    assert main(["predict", "--list", "-", "--weights", run_folder, *options]) == 2
    assert "several processes cannot share" in capsys.readouterr().err.splitlines()[-1]


# Which classes


@pytest.mark.usefixtures("photos")
def test_classes_below_the_threshold_are_left_out(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["predict", "photos", "--weights", run_folder, "--format", "json", "--top_k", "9"]
    assert main(args) == 0
    everything = json.loads(capsys.readouterr().out)
    least = sorted(guess["probability"] for record in everything for guess in record["predictions"])[24]
    assert main([*args, "--threshold", str(least)]) == 0
    some = json.loads(capsys.readouterr().out)
    for record, expected in zip(some, everything, strict=True):
        kept = [guess for guess in expected["predictions"] if guess["probability"] >= least]
        assert record == {"path": expected["path"], "predictions": kept}
    assert sum(len(record["predictions"]) for record in some) == 7 * len(CLASSES) - 24
    assert main([*args, "--threshold", "1"]) == 0
    assert [record["predictions"] for record in json.loads(capsys.readouterr().out)] == [[]] * 7


# Interruptions


@pytest.fixture
def interrupted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001 - its folder is used
    """Runs ``dat predict`` until a number of batches is written, then interrupts it as Ctrl+C does; the exit code."""
    handler = signal.getsignal(signal.SIGINT)

    def run(args: list[str], *, batches: int) -> int:
        left = iter(range(batches))

        def records(*args: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return spool_records(*args)

        spool_records = spool.top_records
        with monkeypatch.context() as patch:
            patch.setattr(spool, "top_records", records)
            return main(args)

    yield run
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it after the first


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
def test_an_interrupted_run_goes_on_without_doing_anything_twice(
    suffix: str, run_folder: str, interrupted: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos/1.png").write_bytes(b"no image")
    args = ["predict", "photos", "--weights", run_folder, "--batch_size", "2", "--threshold", "0.143", "--output"]
    assert main([*args, f"whole.{suffix}"]) == 1
    assert interrupted([*args, f"names.{suffix}"], batches=2) == 130
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("dat: error: interrupted; results so far are in ")
    assert err.splitlines()[-1].endswith(f"names.{suffix}.part; go on with the same command and --resume true")
    assert not Path(f"names.{suffix}").exists()
    lines = Path(f"names.{suffix}.part").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines[:3]] == ["photos/0.png", "photos/1.png", "photos/2.png"]

    before = {path: path.read_bytes() for path in Path().glob("names*")}
    for wrong, said in (
        ([], "has results of a prediction that was interrupted; go on with --resume true"),
        (["--resume", "true", "--top_k", "3"], "was made with top_k 5, not with top_k 3"),
        (["--resume", "true", "--save_images", "copies"], "was made without save_images, not with save_images "),
    ):
        assert main([*args, f"names.{suffix}", *wrong]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
        assert {path: path.read_bytes() for path in Path().glob("names*")} == before

    opened: list[str] = []

    def counting(path: str) -> Image.Image:
        opened.append(path)
        return load_image(path)

    monkeypatch.setattr("dat_cli.data.open_image.load_image", counting)
    assert main([*args, f"names.{suffix}", "--resume", "true"]) == 1
    assert opened == ["photos/4.png", "photos/sub/5.png", "photos/sub/6.png"]
    assert "1 of 7 images could not be read" in capsys.readouterr().err
    assert Path(f"names.{suffix}").read_bytes() == Path(f"whole.{suffix}").read_bytes()
    assert [path.name for path in Path().glob("names*")] == [f"names.{suffix}"]


@pytest.mark.usefixtures("photos")
def test_what_ends_before_the_first_result_leaves_nothing(run_folder: str, interrupted: Any) -> None:
    assert interrupted(["predict", "photos", "--weights", run_folder, "--output", "names.csv"], batches=0) == 130
    assert [path.name for path in Path().iterdir()] == ["photos"]


@pytest.mark.usefixtures("photos")
def test_no_other_command_has_the_output_from_before_the_network_is_loaded(
    run_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    args = ["predict", "photos", "--weights", run_folder, "--output", "names.csv"]
    Path("names.csv.part").touch()  # of a command that has not written its first results
    Path("names.csv.part.json").touch()

    def load_model(_: object) -> None:
        pytest.fail("the network was loaded")

    monkeypatch.setattr("dat_cli.cli.predict.load_model", load_model)
    with subprocess.Popen(
        [sys.executable, "-c", hold, "names.csv.part.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for resume in ("true", "false"):
            assert main([*args, "--resume", resume]) == 1
            said = capsys.readouterr().err.splitlines()[1:]
            assert said == [
                f"dat: error: another command is writing {Path.cwd()}/names.csv.part; wait for it, or stop it"
            ]
            assert len(list(Path().glob("names.csv.part*"))) == 3
        other.communicate("\n")


def _started(args: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads of processes would spin for the same few cores
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "dat_cli", *args], stdout=pipe, stderr=pipe, text=True, env=environment
    )


@pytest.mark.usefixtures("photos")
def test_lines_of_json_appear_while_later_images_are_still_to_come(run_folder: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # which takes a question and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/slow.png"
        images = ["photos/0.png", "photos/1.png", "photos/2.png", "photos/3.png", address]
        options = ["--weights", run_folder, "--format", "jsonl", "--batch_size", "2", "--num_workers", "0"]
        with _started(["predict", *images, *options]) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["path"] == "photos/0.png"
            assert json.loads(process.stdout.readline())["path"] == "photos/1.png"
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "dat: interrupted"


@pytest.mark.usefixtures("photos")
def test_a_run_that_is_terminated_goes_on_with_two_processes(run_folder: str) -> None:
    Path("list.txt").write_text("".join(f"photos/{index % 5}.png\n" for index in range(160)))
    args = ["predict", "--list", "list.txt", "--weights", run_folder, "--batch_size", "2", "--num_workers", "0"]
    args += ["--trainer.accelerator", "cpu", "--output"]
    with _started([*args, "out.jsonl"]) as process:
        while process.poll() is None and not (Path("out.jsonl.part").exists() and Path("out.jsonl.part").read_bytes()):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert "terminated; results so far are in" in err.splitlines()[-1]
    with _started([*args, "out.jsonl", "--resume", "true", "--trainer.devices", "2"]) as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, out) == (0, ""), err
    weights, going_on = err.splitlines()
    assert weights.startswith("dat: weights")
    assert going_on.startswith("dat: going on after ")
    assert main([*args, "alone.jsonl"]) == 0
    assert Path("out.jsonl").read_bytes() == Path("alone.jsonl").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["alone.jsonl", "list.txt", "out.jsonl", "photos"]


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
