"""``dat pull`` as a person types it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from dat_cli.catalog import VARIANTS
from dat_cli.cli.main import main
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.hub_config import config_json

if TYPE_CHECKING:
    from tests.conftest import Hub

CONFIG = json.dumps(config_json(WeightsConfig("dat_tiny", ("cat", "dog"), VARIANTS["dat_tiny"].preprocessing))).encode()
WEIGHTS = save({"stem": np.arange(4000, dtype=np.float32)})
FILES = {"config.json": CONFIG, "README.md": b"# Cats\n", "model.safetensors": WEIGHTS}
SECRET = "hf_test"


@pytest.fixture
def cats(hub: Hub) -> str:
    """A repository with weights; its commit."""
    for name, data in FILES.items():
        commit = hub.plant("tester/cats", name, data, lfs=name == "model.safetensors")
    return commit


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_prints_what_pins_the_weights(cats: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "tester/cats"]) == 0
    said = capsys.readouterr()
    assert said.out == f"tester/cats@{cats}\n"
    for name, data in FILES.items():
        assert any(name in line and sha256(data).hexdigest() in line for line in said.err.splitlines())
    assert main(["pull", said.out.strip()]) == 0
    assert capsys.readouterr().out == said.out


def test_out_is_a_plain_folder_of_the_files(cats: str, tmp_path: Path) -> None:
    del cats
    out = tmp_path / "new" / "cats"
    assert main(["pull", "tester/cats", "--out", str(out)]) == 0
    assert files(out) == FILES
    assert not any(path.is_symlink() for path in out.iterdir())
    assert [path.name for path in out.parent.iterdir()] == ["cats"]


def test_out_replaces_weights_and_nothing_else(hub: Hub, cats: str, tmp_path: Path) -> None:
    del cats
    out = tmp_path / "cats"
    out.mkdir()
    assert main(["pull", "tester/cats", "--out", str(out)]) == 0
    (out / "model-00001-of-00002.safetensors").write_bytes(b"old")
    assert main(["pull", "tester/cats", "--out", str(out)]) == 0
    assert files(out) == FILES
    (out / "notes.txt").write_text("mine")
    hub.clear()
    assert main(["pull", "tester/cats", "--out", str(out)]) == 2
    assert (out / "notes.txt").read_text() == "mine"
    assert hub.log() == []


def test_a_failed_pull_leaves_the_folder_as_it_was(hub: Hub, cats: str, tmp_path: Path) -> None:
    out = tmp_path / "cats"
    assert main(["pull", f"tester/cats@{cats}", "--out", str(out)]) == 0
    hub.plant("tester/cats", "model.safetensors", b"newer", lfs=True)
    hub.fault("_cdn", "corrupt", times=2)
    assert main(["pull", "tester/cats", "--out", str(out)]) == 3
    assert files(out) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["cats"]


def test_the_current_folder_and_a_file_are_no_place(
    cats: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del cats
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for out, words in ((".", "current folder"), ("file", "is a file"), ("", "is empty"), ("file/x", "file")):
        assert main(["pull", "tester/cats", "--out", out]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tester/none"], 3, "there is no repository tester/none"),
        (["tester/cats", "--revision", "v9"], 3, "no revision 'v9'"),
        (["tester/cats@a", "--revision", "b"], 2, "say it once"),
        (["tester/cats", "--revision", "../x"], 2, "cannot be a revision"),
        (["tester/cats", "--revision", ""], 2, "the revision is empty"),
        (["tester/cats", "--owner", "me"], 2, "--owner goes with"),
        (["dat_tiny", "--revision", "v1"], 2, "--revision goes with"),
        (["dat_tinny"], 2, "did you mean 'dat_tiny'"),
        (["../cats"], 2, "names no weights that can be pulled"),
        (["\x1b[2J"], 2, r"'\x1b[2J' names no weights"),
        ([], 2, "name"),
    ],
)
def test_what_is_wrong_is_one_line(
    cats: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    del cats
    assert main(["pull", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_a_revision_may_stand_in_either_place(hub: Hub, cats: str, capsys: pytest.CaptureFixture[str]) -> None:
    hub.plant("tester/cats", "README.md", b"newer")
    for arguments in ([f"tester/cats@{cats}"], ["tester/cats", "--revision", cats], [f"hf-hub:tester/cats@{cats[:9]}"]):
        assert main(["pull", *arguments]) == 0
        assert capsys.readouterr().out == f"tester/cats@{cats}\n"


def test_a_variant_comes_from_its_owner_as_a_folder(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in FILES.items():
        commit = hub.plant("tester/dat_tiny", name, data, lfs=name == "model.safetensors")
    out = tmp_path / "tiny"
    assert main(["pull", "dat_tiny", "--owner", "tester", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == f"tester/dat_tiny@{commit}\n"
    assert commit in said.err
    assert files(out) == FILES


def test_the_newest_weights_of_a_variant_are_pulled(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in FILES.items():
        hub.plant("tester/dat_tiny", name, data, lfs=name == "model.safetensors")
    assert main(["pull", "dat_tiny", "--owner", "tester"]) == 0
    newer = hub.plant("tester/dat_tiny", "README.md", b"newer")
    capsys.readouterr()
    assert main(["pull", "dat_tiny", "--owner", "tester"]) == 0
    assert capsys.readouterr().out == f"tester/dat_tiny@{newer}\n"


def test_no_byte_that_is_written_or_said_holds_the_token(hub: Hub, cats: str, tmp_path: Path) -> None:
    del cats
    hub.access("tester/cats", private=True)
    environment = {**hub.environment, "DAT_DEBUG": "1", "HF_HOME": str(tmp_path / "home")}
    said = b""
    for name, code in (("tester/cats", 0), ("tester/none", 3)):
        command = [sys.executable, "-m", "dat_cli", "pull", name, "--out", str(tmp_path / "out")]
        ran = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert ran.returncode == code, ran.stderr.decode()
        said += ran.stdout + ran.stderr
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert WEIGHTS in written
    assert not any(SECRET.encode() in data for data in (said, *written))


def test_progress_is_drawn_on_a_terminal_only(hub: Hub, cats: str, tmp_path: Path) -> None:
    del cats
    environment = {**hub.environment, "TERM": "xterm"}
    del environment["HF_HUB_DISABLE_PROGRESS_BARS"]
    command = [sys.executable, "-m", "dat_cli", "pull", "tester/cats"]
    seen, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))  # lines and columns
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=screen) as process:
        os.close(screen)
        drawn = b""
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(seen, 4096):
                drawn += piece
    os.close(seen)
    assert process.returncode == 0
    assert b"model.safetensors: " in drawn
    assert b"%" in drawn
    environment["HF_HOME"] = str(tmp_path)
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
    assert b"%" not in ran.stderr


def test_torch_is_not_imported(hub: Hub, cats: str) -> None:
    code = (
        "import sys; from dat_cli.cli.main import main; code = main(['pull', 'tester/cats']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=hub.environment, capture_output=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stdout.decode().strip()) == (0, f"tester/cats@{cats}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_pull_that_is_ended_leaves_nothing_half_written(
    hub: Hub, cats: str, tmp_path: Path, number: int, code: int
) -> None:
    del cats
    hub.fault("GET /_cdn", "throttle", rate=4000)
    command = [sys.executable, "-m", "dat_cli", "pull", "tester/cats", "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, env=hub.environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        blobs = Path(os.environ["HF_HOME"]) / "hub/models--tester--cats/blobs"
        while not (any(blobs.glob("*.incomplete")) and list(tmp_path.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == code
    assert list(tmp_path.iterdir()) == []
    assert main(["pull", "tester/cats", "--out", str(tmp_path / "out")]) == 0
    while "throttle" not in [request["fault"] for request in hub.log()]:  # or it would be noted in the next test
        assert time.monotonic() < deadline
        time.sleep(0.05)
