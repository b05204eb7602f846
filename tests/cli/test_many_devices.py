"""Several real processes against one: the same losses, the same scores, one run folder, one end."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dat_cli.cli.main import main
from dat_cli.weights import read_tensors

PAGE = Path(__file__).parents[2] / "docs" / "many-devices.md"
COMMANDS = {"dat": ["-m", "dat_cli"], "torchrun": ["-m", "torch.distributed.run"]}
CPU = ["--trainer.accelerator", "cpu"]
# Stochastic depth is drawn in each process anew; everything else depends on a picture's place in the epoch alone.
EQUAL = ["--config", "tiny", "--data.image_size", "32", "--model.drop_path_rate", "0", *CPU]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes: 16 images to train on, and 7 to measure on, which no two processes share evenly."""
    digits = load_digits()
    folder = tmp_path_factory.mktemp("data") / "photos"
    for label, name, counts in ((0, "zero", (6, 3)), (1, "one", (6, 3)), (2, "two", (4, 1))):
        pictures = iter(digits.images[digits.target == label])
        for part, count in zip(("train", "val"), counts, strict=True):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = (next(pictures) * 15).astype("uint8")
                Image.fromarray(pixels).resize((40, 40)).save(folder / part / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process with batches of 8."""
    parent = tmp_path_factory.mktemp("alone")
    assert main(_fit(photos, parent, "--data.batch_size", "8")) == 0
    return parent / "run" / "version_0"


@pytest.fixture(scope="module")
def together(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The run of two processes with batches of 4 that Lightning starts: its folder, what it printed and said."""
    parent = tmp_path_factory.mktemp("together")
    out, err = _run(_documented("dat fit --config imagenet/dat_tiny", photos, parent).words)
    return parent / "run" / "version_0", out, err


class Launch(NamedTuple):
    """A command of docs/many-devices.md, made small enough for this machine."""

    words: list[str]
    environment: dict[str, str]


def _documented(beginning: str, photos: Path, parent: Path, *, port: str = "") -> Launch:
    """The one command of the page that begins so, with our images and as many processes as there are cores."""
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(beginning)]
    one_each = "node0" in line
    for there, here in {
        "--config imagenet/dat_tiny": " ".join(EQUAL),
        "--data.source imagenet": f"--data.source {photos} --data.batch_size 4",
        "--nproc_per_node 8": f"--nproc_per_node {1 if one_each else 2}",
        "--trainer.devices 8": f"--trainer.devices {1 if one_each else 2}",
        "node0": "127.0.0.1",
        "29500": port,
    }.items():
        line = line.replace(there, here)
    words = shlex.split(line)
    environment = dict(word.split("=", 1) for word in itertools.takewhile(lambda word: "=" in word, words))
    program, *options = words[len(environment) :]
    return Launch([sys.executable, *COMMANDS[program], *options, *_where(parent)], environment)


def _fit(photos: Path, parent: Path, *options: str) -> list[str]:
    return ["fit", *EQUAL, "--data.source", str(photos), *options, *_where(parent)]


def _where(parent: Path) -> list[str]:
    return ["--trainer.max_epochs", "2", "--output_dir", str(parent), "--name", "run"]


def _run(command: list[str], **environment: str) -> tuple[str, str]:
    with _started(command, **environment) as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out, err


@contextmanager
def _started(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose whole group is gone at the end, whatever happens."""
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _table(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _assert_equal_runs(run: Path, other: Path) -> None:
    rows, others = _table(run), _table(other)
    assert len(rows) == len(others) == 2
    for row, expected in zip(rows, others, strict=True):
        assert row == pytest.approx(expected, rel=2e-4)


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_two_processes_learn_and_measure_what_one_does(together: tuple[Path, str, str], alone: Path) -> None:
    _assert_equal_runs(together[0], alone)


def test_one_process_alone_writes_and_speaks(together: tuple[Path, str, str], alone: Path) -> None:
    run, out, err = together
    assert out == f"{run}\n"
    assert [entry.name for entry in run.parent.iterdir()] == ["version_0"]
    assert {entry.name for entry in run.iterdir()} == {entry.name for entry in alone.iterdir()}
    lines = err.splitlines()
    assert len(lines) == len(set(lines))
    assert sum("epoch 1/2" in line for line in lines) == 1
    log = (run / "train.log").read_text(encoding="utf-8").splitlines()
    assert sum("epoch 1/2" in line for line in log) == 1


def test_each_image_counts_once(together: tuple[Path, str, str], alone: Path) -> None:
    table = (together[0] / "confusion.csv").read_text(encoding="utf-8")
    assert table == (alone / "confusion.csv").read_text(encoding="utf-8")
    assert sum(int(count) for row in table.splitlines()[1:] for count in row.split(",")[1:]) == 7


def test_two_processes_measure_what_one_does(
    photos: Path, alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    measure = ["validate", "--weights", str(alone), "--data.source", str(photos), "--format", "json", *CPU]
    measure += ["--report", str(tmp_path / "report")]
    assert main(measure) == 0
    expected = json.loads(capfd.readouterr().out)
    out, _ = _run([sys.executable, *COMMANDS["dat"], *measure, "--trainer.devices", "2"])
    found = json.loads(out)
    assert found["images"] == expected["images"] == 7
    assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    assert {**found, "val_loss": 0} == {**expected, "val_loss": 0}


def test_two_processes_print_what_one_does(photos: Path, alone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", str(photos / "val"), "--weights", str(alone), "--format", "csv", *CPU]
    assert main(predict) == 0
    expected = [row[:3] for row in csv.reader(capfd.readouterr().out.splitlines())]
    out, _ = _run([sys.executable, *COMMANDS["dat"], *predict, "--trainer.devices", "2"])
    assert [row[:3] for row in csv.reader(out.splitlines())] == expected
    assert expected[0] == ["path", "rank", "label"]


def test_two_launches_of_torchrun_shard_a_network_whose_files_are_those_of_one_device(
    photos: Path, alone: Path, tmp_path: Path
) -> None:
    port = _free_port()
    first, second = (
        _documented(f"torchrun --nnodes 2 --nproc_per_node 8 --node_rank {rank}", photos, tmp_path, port=port).words
        for rank in (0, 1)
    )
    with _started([*second, "--trainer.strategy", "fsdp"]) as other:
        out, _ = _run([*first, "--trainer.strategy", "fsdp"])
        assert other.communicate(timeout=60)[0] == ""
    assert other.returncode == 0
    run = tmp_path / "run" / "version_0"
    assert out == f"{run}\n"
    assert [entry.name for entry in run.parent.iterdir()] == ["version_0"]
    _assert_equal_runs(run, alone)
    for name in ("best.safetensors", "last.ckpt"):
        ours, theirs = read_tensors(run / name), read_tensors(alone / name)
        assert {name: tensor.shape for name, tensor in ours.items()} == {
            name: tensor.shape for name, tensor in theirs.items()
        }
    assert main(["validate", "--weights", str(run), "--data.source", str(photos), *CPU]) == 0


def test_a_trial_of_torchrun_keeps_nothing(photos: Path, tmp_path: Path) -> None:
    launch = _documented("torchrun --standalone", photos, tmp_path)
    out, err = _run([*launch.words, "--trainer.fast_dev_run", "true"])
    assert out == ""
    assert err.count("fast_dev_run: a trial of the whole way") == 1
    assert list(tmp_path.iterdir()) == []


def test_tasks_of_slurm_find_each_other(photos: Path, alone: Path, tmp_path: Path) -> None:
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("srun ")]
    assert line.split("=1 ")[1] == "dat fit --config imagenet/dat_tiny --data.source imagenet"
    command = [sys.executable, *COMMANDS["dat"], *_fit(photos, tmp_path, "--data.batch_size", "4")]
    tasks = _slurm(2)
    with _started(command, **tasks[1]) as second:
        out, _ = _run(command, **tasks[0])
        assert second.communicate(timeout=60) == ("", "")
    run = tmp_path / "run" / "version_0"
    assert out == f"{run}\n"
    _assert_equal_runs(run, alone)


def test_a_process_that_fails_alone_is_the_one_that_says_why(photos: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(photos, damaged)
    (damaged / "train" / "zero" / "0.png").write_bytes(b"no picture")
    runs = tmp_path / "runs"
    tasks = _slurm(2)
    first, second = ([sys.executable, *COMMANDS["dat"], *_fit(folder, runs)] for folder in (photos, damaged))
    with _started(second, **tasks[1]) as failing, _started(first, **tasks[0]) as other:
        out, err = failing.communicate(timeout=120)
        started = time.monotonic()
        others_out, others_err = other.communicate(timeout=60)
    assert time.monotonic() - started < 20
    assert (failing.returncode, other.returncode) == (2, 1)
    assert out == others_out == ""
    (line,) = err.splitlines()
    assert line.startswith("dat: error: ")
    assert "0.png" in line
    assert "error" not in others_err


def test_a_killed_process_ends_the_others(photos: Path, tmp_path: Path) -> None:
    command = _documented("dat fit --config imagenet/dat_tiny", photos, tmp_path).words
    with _started([*command, "--trainer.max_epochs", "1000"]) as first:
        _wait_for(tmp_path / "run" / "version_0" / "last.ckpt")
        (child,) = _children(first.pid)
        os.kill(child, signal.SIGKILL)
        started = time.monotonic()
        out, err = first.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert first.returncode == 1
    assert out == ""
    errors = [line for line in err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "another process of this training" in errors[0]


def test_a_node_that_does_not_come_is_waited_for_but_not_for_ever(photos: Path, tmp_path: Path) -> None:
    launch = _documented("MASTER_ADDR=node0 MASTER_PORT=29500 NODE_RANK=0", photos, tmp_path, port=_free_port())
    with _started(launch.words, DAT_WAIT="3", **launch.environment) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert out == ""
    (line,) = err.splitlines()
    assert "process 0 has waited 3 seconds for 1 more of 2 at 127.0.0.1:" in line
    assert "NODE_RANK" in line
    assert list(tmp_path.iterdir()) == []


def _slurm(tasks: int) -> list[dict[str, str]]:
    """What srun says to each task of a job on one node."""
    job = {
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_NNODES": "1",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _free_port(),
    }
    return [{**job, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(tasks)]


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until, f"no {path.name}"
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    """Processes that a process has started and that train: others, such as a tracker of resources, do nothing."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in found if b"dat_cli" in Path(f"/proc/{child}/cmdline").read_bytes()]
