"""``make compare``: two revisions of a small package, each with its own networks, in processes that take turns."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODELS = """
import torch

def create_model(name, img_size=32):
    sizes = {sizes}
    network = torch.nn.Sequential(torch.nn.Conv2d(3, sizes[name], 8, 8), torch.nn.Flatten())
    network.default_cfg = {{"input_size": (3, img_size, img_size)}}
    return network
"""


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two networks in the revision ``first``, and one more in changes that are not committed."""
    shutil.copytree(BENCHMARKS, tmp_path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    models = tmp_path / "dat_cli" / "models" / "__init__.py"
    models.parent.mkdir(parents=True)
    (tmp_path / "dat_cli" / "__init__.py").touch()
    models.write_text(MODELS.format(sizes={"small": 2, "large": 4}))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "dat_cli")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "tag", "first")
    models.write_text(MODELS.format(sizes={"small": 2, "new": 4}))
    return tmp_path


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.compare", *args]


def compare(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def left_in(folder: Path) -> list[Path]:
    return list((folder / "build").iterdir()) if (folder / "build").exists() else []


def test_each_revision_runs_its_own_networks_and_the_work_that_is_not_committed_counts(checkout: Path) -> None:
    done = compare(checkout, "first", ".", "small", "new", "large", "--rounds", "2", "--batch_size", "3")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"base: first \([0-9a-f]{9}\)", lines[0])
    assert re.fullmatch(r"head: this folder \([0-9a-f]{9}, with changes\)", lines[1])
    number = r"\d+\.\d+"
    for task, batch in (("inference", 3), ("latency", 1), ("training", 3)):
        row = rf"small {task}, batch {batch} +{number} +{number} +{number} x +{number} to {number}"
        assert any(re.fullmatch(row, line) for line in lines), (task, lines)
    assert any(re.fullmatch(r"new inference, batch 3 +first \(\w+\): KeyError: 'new'", line) for line in lines)
    assert any(re.fullmatch(r"large training, batch 3 +this folder \(.*\): KeyError: 'large'", line) for line in lines)
    assert done.returncode == 1  # not everything could be compared
    assert left_in(checkout) == []


def test_an_interrupt_ends_both_and_leaves_nothing(checkout: Path) -> None:
    with subprocess.Popen(command("first", "first", "small"), cwd=checkout, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("base: first")
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
    assert left_in(checkout) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fist", "."], "there is no revision 'fist'"),
        (["first", "v2"], "there is no revision 'v2'"),
        (["", "."], "there is no revision ''"),
        (["first", ".", "--rounds", "0"], "--rounds: '0' is not a whole number from 1"),
        (["first", ".", "--task", "speed"], "'speed' is none of inference, latency, training"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(args: list[str], words: str, checkout: Path) -> None:
    done = compare(checkout, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]
    assert left_in(checkout) == []


def test_without_git_or_a_checkout_there_are_no_revisions(checkout: Path) -> None:
    done = compare(checkout, "first", ".", PATH="")
    assert (done.returncode, done.stderr) == (2, "compare: git is not installed, which alone has revisions\n")
    shutil.rmtree(checkout / ".git")
    done = compare(checkout, "first", ".", GIT_CEILING_DIRECTORIES=str(checkout.parent))
    assert done.returncode == 2
    assert done.stderr.startswith(f"compare: {checkout.name} is no checkout of git")
