"""What is recorded of where a run took place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dat_cli.train import environment as module
from dat_cli.train.environment import environment


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current folder is a repository with one commit, whose name this is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text("1")
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "code.py"], [*person, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_known_and_whether_files_differ_from_it(repository: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "new").write_text("what no commit has is no change")
    assert environment()["git"] == {"commit": repository, "changed": False}
    (tmp_path / "code.py").write_text("2")
    assert environment()["git"] == {"commit": repository, "changed": True}


def test_without_a_repository_or_without_git_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    monkeypatch.setenv("PATH", "")
    assert environment()["git"] is None


def test_the_commit_of_dat_itself_is_known_from_any_folder_when_it_runs_from_a_checkout(
    repository: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere := tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(elsewhere.parent))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "code.py"))
    assert environment()["dat_git"] == {"commit": repository, "changed": False}
    (tmp_path / "code.py").write_text("2")
    assert environment()["dat_git"] == {"commit": repository, "changed": True}
    monkeypatch.setenv("GIT_DIR", str(elsewhere))  # as a hook of another repository has it
    assert environment()["dat_git"] == {"commit": repository, "changed": True}
    assert environment()["git"] is None


@pytest.mark.usefixtures("repository")
def test_installed_inside_the_repository_of_somebody_dat_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site-packages").mkdir()
    for place in ("site-packages/environment.py", "dat.zip/environment.py"):
        monkeypatch.setattr(module, "__file__", str(tmp_path / place))
        assert environment()["dat_git"] is None


def test_the_command_is_kept_without_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    source = "https://me:hunter2@example.org/a.tar?X-Amz-Signature=f00&part=1"
    monkeypatch.setattr(
        sys, "argv", ["/bin/dat", "fit", "--name", "two words", "--data.source", source, "hf_very_secret"]
    )
    command = environment()["command"]
    assert command.startswith("dat fit --name 'two words' --data.source ")
    for secret in ("hunter2", "me:", "f00", "hf_very_secret"):
        assert secret not in command
    assert "example.org/a.tar" in command
    assert "part=1" in command


def test_it_is_plain_and_says_versions() -> None:
    found = json.loads(json.dumps(environment()))
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["cpus"] >= 1
