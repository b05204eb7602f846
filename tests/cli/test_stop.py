"""A training that is asked to stop, at any moment: a checkpoint, the right exit code, and nothing lost."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dat_cli.cli.main import main
from dat_cli.train.classification import Classification
from dat_cli.weights import open_checkpoint, read_tensors

KILLS = int(os.environ.get("DAT_KILLS", "2"))  # of the test with random moments; more by hand
SMALL = [
    "--config", "tiny", "--data.image_size", "32", "--data.batch_size", "4", "--trainer.limit_val_batches", "2",
]  # fmt: skip
KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
SHORT = [*SMALL, "--trainer.limit_train_batches", "2", "--trainer.max_epochs", "1"]


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _signal_in(patch: pytest.MonkeyPatch, hook: str, *numbers: signal.Signals, pause: float = 0.0) -> None:
    """Send this process signals the first time that a hook is called."""
    left = list(numbers)
    original = getattr(Classification, hook)

    def signalled(module: Classification, *given: Any) -> Any:
        while left:
            os.kill(os.getpid(), left.pop(0))
            time.sleep(pause)
        return original(module, *given)

    patch.setattr(Classification, hook, signalled)


@pytest.mark.parametrize(
    ("hook", "number", "code", "names"),
    [
        ("on_fit_start", signal.SIGTERM, 143, set()),  # before there is a folder
        ("validation_step", signal.SIGINT, 130, set()),  # of the check before the first step
        ("on_fit_end", signal.SIGTERM, 143, {"last.ckpt", "best.safetensors"}),  # all is done
    ],
)
def test_before_the_first_step_and_after_the_last_a_signal_ends_with_its_code(
    hook: str, number: signal.Signals, code: int, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    _signal_in(monkeypatch, hook, number)
    assert main(["fit", *SHORT, "--output_dir", str(tmp_path), "--name", "run"]) == code
    found = {entry.name for entry in (tmp_path / "run" / "version_0").glob("*")}
    assert found >= names
    assert bool(found) == bool(names)
    assert [signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_a_second_signal_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _signal_in(monkeypatch, "training_step", signal.SIGTERM, signal.SIGINT, pause=1.1)
    assert main(["fit", *SHORT, "--output_dir", str(tmp_path), "--name", "run"]) == 130
    said = capfd.readouterr().err
    assert "SIGTERM: stopping after this step, with a checkpoint; once more to stop at once" in said
    assert said.endswith("dat: interrupted\n")
    assert not list(tmp_path.glob("run/*/*.ckpt"))


def test_one_ctrl_c_that_comes_twice_is_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _signal_in(monkeypatch, "training_step", signal.SIGINT, signal.SIGTERM)
    assert main(["fit", *SHORT, "--output_dir", str(tmp_path), "--name", "run"]) == 130
    assert open_checkpoint(tmp_path / "run" / "version_0" / "last.ckpt")["global_step"] == 1


def test_a_job_of_slurm_is_requeued_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho \"$@\" >> '{asked}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slurm = {
        "JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0",
        "LOCALID": "0", "NODEID": "0", "JOB_NODELIST": "localhost",
    }  # fmt: skip
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    command = ["fit", *SHORT, "--output_dir", str(tmp_path / "runs"), "--name", "run"]
    with monkeypatch.context() as patch:
        _signal_in(patch, "training_step", signal.SIGUSR1)
        assert main(command) == 143
    assert asked.read_text().splitlines()[-1] == "requeue 77"
    run = tmp_path / "runs" / "run" / "version_0"

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    capfd.readouterr()
    assert main(command) == 0
    output = capfd.readouterr()
    assert output.out == f"{run}\n"
    assert f"going on in {run}" in output.err
    assert [row["step"] for row in _rows(run)] == ["2"]

    assert main(command) == 0  # requeued once more, by somebody else: there is nothing left to do
    assert capfd.readouterr().out == f"{run}\n"
    assert [entry.name for entry in run.parent.iterdir()] == ["version_0"]


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start ``dat`` as the leader of a group of processes, to which its workers belong."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dat_cli", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    return start


@pytest.mark.timeout(300 + 100 * KILLS)
def test_kills_at_random_moments_lose_nothing(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    options = [
        *SMALL, "--trainer.limit_train_batches", "5", "--trainer.max_epochs", "2", "--data.num_workers", "1",
        "--ema_decay", "0.9", "--save_minutes", "0.01",
    ]  # fmt: skip
    expected = tmp_path / "expected" / "version_0"
    assert main(["fit", *options, "--output_dir", str(tmp_path), "--name", "expected"]) == 0

    chance = random.Random(os.environ.get("DAT_SEED", "0"))
    begin = ["fit", *options, "--output_dir", str(tmp_path), "--name", "run"]
    command, kills = begin, 0
    while kills < KILLS or command != begin:
        process = start(*command)
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "writing to" in line or "going on in" in line:
                break
        number = KINDS[kills % len(KINDS)] if kills < KILLS else None
        if number is not None:
            time.sleep(chance.uniform(0, 4))
            os.killpg(process.pid, number)
            kills += 1
        said += process.communicate(timeout=300)[1]
        assert "Traceback" not in said
        versions = sorted((tmp_path / "run").iterdir())
        if process.returncode == 0 or "is finished after 2 epochs" in said:
            _assert_same(versions[-1], expected)
            shutil.rmtree(tmp_path / "run")
            command = begin
            continue
        assert number is not None, said
        assert process.returncode == CODES[number], said
        if (versions[-1] / "last.ckpt").exists():
            command = ["fit", "--resume", str(versions[-1])]
        else:
            assert number is signal.SIGKILL, said  # before the first checkpoint


def _assert_same(run: Path, expected: Path) -> None:
    assert _rows(run) == _rows(expected)
    for name in ("last.ckpt", "best.safetensors"):
        ours, theirs = read_tensors(run / name), read_tensors(expected / name)
        assert all(ours[tensor].equal(theirs[tensor]) for tensor in theirs)
    assert not list(run.glob(".*"))


def test_processes_that_train_together_stop_at_the_same_step_when_one_of_them_is_asked(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(
        "fit", *SMALL, "--trainer.max_epochs", "2", "--trainer.devices", "2", "--trainer.accelerator", "cpu",
        "--output_dir", str(tmp_path), "--name", "run",
    )  # fmt: skip
    assert process.stderr is not None
    said = next(line for line in process.stderr if "writing to" in line)
    process.terminate()  # the first process alone
    out, rest = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, ""), said + rest
    assert rest.count("stopped in epoch 1 after step") == 1
    assert rest.count("terminated") == 1
    checkpoint = open_checkpoint(tmp_path / "run" / "version_0" / "last.ckpt")
    assert checkpoint["global_step"] >= 1
