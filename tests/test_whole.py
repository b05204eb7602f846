"""Files that are written whole or not at all, on a disk that is really full and with signals that really come."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dat_cli.catalog import Preprocessing
from dat_cli.cli.files import result_file
from dat_cli.errors import UsageError
from dat_cli.weights import WeightsConfig, open_checkpoint, write_weights
from dat_cli.weights.authors_file import write_authors_file
from dat_cli.weights.files import read_file_tensors
from dat_cli.whole import whole_file

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from dat_cli.weights.authors_file import write_authors_file

def interrupt(*_):
    raise KeyboardInterrupt

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for name in ("x.pth", "x.safetensors", "interrupted.pth"):
    signal.signal(signal.SIGXFSZ, interrupt if "interrupted" in name else signal.SIG_IGN)
    try:
        write_authors_file(Path(name), {"a": torch.zeros(100_000)})
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are of Unix")
def test_a_full_disk_and_a_signal_are_told_as_what_they_are_and_leave_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("old")
    command = [sys.executable, "-c", FULL_DISK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    full, refused, interrupted = done.stdout.splitlines()
    assert full == "OSError: [Errno 27] File too large: 'x.pth'"
    assert refused.startswith("DatError: cannot write x.safetensors: ")
    assert "File too large" in refused
    assert interrupted == "KeyboardInterrupt: "
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.pth", "old")]


@pytest.mark.skipif(sys.platform == "win32", reason="devices and pipes are of Unix")
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match=rf"cannot write .*{name}: it is a device or a pipe"):
            write_authors_file(tmp_path / name, {"a": torch.zeros(1)})
    with pytest.raises(UsageError, match="it is a folder"), whole_file(tmp_path):
        pass
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").readlink() == Path("/dev/null")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_text("old")
    (tmp_path / "link.pth").symlink_to("file.pth")
    write_authors_file(tmp_path / "link.pth", {"a": torch.ones(1)})
    assert (tmp_path / "link.pth").is_symlink()
    assert open_checkpoint(tmp_path / "file.pth")["model"]["a"] == 1


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private.pth"
    for mode in (0o600, 0o440):
        path.touch()
        path.chmod(mode)
        with whole_file(path) as temporary:
            assert temporary.stat().st_mode & 0o077 == mode & 0o077  # nobody reads it meanwhile either
            temporary.write_text("new")
        assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse bytes that are no UTF-8")
@pytest.mark.parametrize("name", ["猫" * 82 + ".png", "x" * 255, "b" * 100 + "\udce9" * 100])
def test_any_name_that_the_disk_takes_will_do(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("new")
    with result_file(tmp_path / name) as stream:
        stream.write("newer")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "newer")]


def test_names_that_begin_alike_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("x" * 200 + "1")) as one, whole_file(tmp_path / ("x" * 200 + "2")) as two:
        assert one != two


@pytest.mark.skipif(os.name != "posix", reason="asking for a process is of Unix")
def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    killed = subprocess.Popen(["sleep", "60"])
    killed.kill()
    killed.wait()
    path, old = tmp_path / "w.safetensors", time.time() - 7200
    left = {f".w.safetensors.{killed.pid}.tmp": old}
    kept = {f".w.safetensors.{os.getppid()}.tmp": old, f".v.safetensors.{killed.pid}.tmp": old, ".w.safetensors.x": old}
    for name, when in {**left, **kept}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (when, when))
    (tmp_path / f".w.safetensors.0{killed.pid}.tmp").touch()  # may be of another machine
    write_weights(path, {"a": torch.zeros(1)}, WeightsConfig("dat_tiny", ("a", "b"), Preprocessing((3, 32, 32))))
    assert {file.name for file in tmp_path.iterdir()} == {*kept, path.name, f".w.safetensors.0{killed.pid}.tmp"}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_part_of_a_large_tensor_gives_a_small_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    part = torch.arange(1_000_000.0)[5:15]
    write_authors_file(path, {"a": part, "the same": part, "turned": part.view(2, 5).t()})
    assert path.stat().st_size < 10_000
    read = open_checkpoint(path)["model"] if suffix == "pth" else read_file_tensors(path)
    assert torch.equal(read["a"], part)
    assert torch.equal(read["turned"], part.view(2, 5).t())
