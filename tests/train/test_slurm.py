"""Jobs of Slurm, with an scontrol that writes down what it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dat_cli.train import slurm

Asked = Callable[[], list[str]]


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Put an scontrol on the PATH that knows job 7 as cancelled and refuses job 8; returns what it was asked."""
    asked = tmp_path / "asked"
    program = tmp_path / "scontrol"
    program.write_text(
        f"#!/bin/sh\necho \"$@\" >> '{asked}'\n"
        'case "$*" in "show job 7") echo "JobId=7 JobState=CANCELLED Reason=None";;\n'
        '"requeue 8") echo "Requested operation is presently disabled" >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return lambda: asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({"SLURM_JOB_ID": "5"}, "requeue 5"),
        ({"SLURM_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "4", "SLURM_ARRAY_TASK_ID": "1"}, "requeue 4_1"),
        ({"SLURM_JOB_ID": "5", "SLURM_PROCID": "0"}, "requeue 5"),
    ],
)
def test_a_job_goes_back_into_the_queue(
    environment: dict[str, str], wanted: str, scontrol: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    slurm.requeue()
    assert scontrol()[-1] == wanted


@pytest.mark.parametrize(
    "environment", [{}, {"SLURM_JOB_ID": "5", "SLURM_PROCID": "1"}, {"SLURM_JOB_ID": "7"}], ids=str
)
def test_no_other_process_and_no_cancelled_job_asks_for_it(
    environment: dict[str, str], scontrol: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    slurm.requeue()
    assert not [line for line in scontrol() if line.startswith("requeue")]


@pytest.mark.parametrize(("job", "words"), [("8", "presently disabled"), ("9", "No such file")])
def test_a_refusal_is_a_warning(
    job: str, words: str, scontrol: Asked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert scontrol() == []
    monkeypatch.setenv("SLURM_JOB_ID", job)
    if job == "9":
        monkeypatch.setenv("PATH", "/nowhere")
    slurm.requeue()
    assert f"job {job} could not be requeued" in caplog.text
    assert words in caplog.text
