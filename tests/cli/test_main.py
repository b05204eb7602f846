"""The command table: what answers without torch, and how a mistake is answered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dat_cli import __version__
from dat_cli.cli.main import COMMANDS, main

HEAVY = ("torch", "lightning", "jsonargparse", "torchvision", "timm", "rich", "numpy")
INSTANT: tuple[list[str], ...] = (
    [],
    ["--help"],
    ["--version"],
    ["help"],
    ["fitt"],
    ["models"],
    ["models", "--format", "json"],
    ["models", "--help"],
    ["--config", "tiny", "fit"],
)


def dat(*args: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dat_cli", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **kwargs)  # type: ignore[call-overload]  # passes options of run on


def test_what_needs_no_network_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dat_cli.cli.main import main\n"
        f"for argv in {INSTANT!r}: main(argv)\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_lists_every_command_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["-h"], ["help"]):
        assert main(argv) == 0
        told = capsys.readouterr()
        assert all(f"  {name} " in told.out for name in COMMANDS)
        assert told.err == ""


def test_no_command_is_wrong_usage_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("usage: dat COMMAND")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dat {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["fitt"], "unknown command 'fitt'; did you mean 'fit'?"),
        (["modles", "--format", "json"], "did you mean 'models'?"),
        (["help", "predcit"], "did you mean 'predict'?"),
        (["xyz"], "there are fit, validate"),
        (["--config", "tiny", "fit"], "options come after the command: dat fit --config"),
        (["--verbose"], "'--verbose' is not a command"),
        (["\x1b[31mfit"], r"\x1b[31mfit"),
        ([""], "unknown command ''"),
    ],
)
def test_a_mistyped_command_is_one_line_with_what_was_meant(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("dat: error: ")
    assert told.err.count("\n") == 1
    assert words in told.err.replace("\\\\", "\\")


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "models"]) == 0
    asked = capsys.readouterr().out
    assert main(["models", "--help"]) == 0
    assert capsys.readouterr().out == asked
    assert asked.startswith("usage: dat models")


def test_the_module_is_the_command_from_any_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = dat("modls", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dat: error: unknown command 'modls'; did you mean 'models'?\n"


def test_a_current_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["fit", "--config", "tiny"]) == 2
    assert "the current folder does not exist any more" in capsys.readouterr().err
