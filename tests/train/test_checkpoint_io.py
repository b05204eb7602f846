"""Checkpoints: one of them is whole, whatever happens while the next is written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dat_cli.errors import DatError, WeightsError
from dat_cli.train.checkpoint_io import PREVIOUS, WholeCheckpointIO
from dat_cli.weights import open_checkpoint

LARGE = 10_000_000  # numbers: 40 MB, so that a kill meets a write


def _content(number: int, size: int = 10) -> dict[str, object]:
    return {"step": number, "tensor": torch.full((size,), float(number))}


def _steps(folder: Path) -> list[int]:
    return [open_checkpoint(folder / name)["step"] for name in ("last.ckpt", PREVIOUS)]


def test_the_last_two_are_kept_and_nothing_else(tmp_path: Path) -> None:
    for number in range(4):
        WholeCheckpointIO().save_checkpoint(_content(number), tmp_path / "last.ckpt")
    assert _steps(tmp_path) == [3, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_where_files_cannot_have_two_names_both_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for number in range(3):
        WholeCheckpointIO().save_checkpoint(_content(number), tmp_path / "last.ckpt")
    assert _steps(tmp_path) == [2, 1]


def test_an_interruption_between_the_two_renames_is_made_good(tmp_path: Path) -> None:
    WholeCheckpointIO().save_checkpoint(_content(0), tmp_path / "last.ckpt")
    os.link(tmp_path / "last.ckpt", tmp_path / PREVIOUS)  # both are the same file
    for number in (1, 2):
        WholeCheckpointIO().save_checkpoint(_content(number), tmp_path / "last.ckpt")
    assert _steps(tmp_path) == [2, 1]
    assert len(list(tmp_path.iterdir())) == 2


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from dat_cli.train.checkpoint_io import WholeCheckpointIO

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    WholeCheckpointIO().save_checkpoint({"tensor": torch.zeros(100_000)}, Path("run/last.ckpt"))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_is_an_error_that_says_where_and_leaves_what_there_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for number in range(2):
        WholeCheckpointIO().save_checkpoint(_content(number), run / "last.ckpt")
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("DatError: cannot write run/last.ckpt: File too large (")
    assert " MB are free there)" in done.stdout
    assert "dat fit --resume run" in done.stdout
    assert _steps(run) == [1, 0]
    assert len(list(run.iterdir())) == 2


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatError, match=r"cannot write .*gone/last.ckpt: No such file or directory"):
        WholeCheckpointIO().save_checkpoint(_content(0), tmp_path / "gone" / "last.ckpt")


WRITING = """
import sys
from pathlib import Path
import torch
from dat_cli.train.checkpoint_io import WholeCheckpointIO

tensor = torch.zeros(int(sys.argv[1]))
number = 0
while True:
    number += 1
    WholeCheckpointIO().save_checkpoint({"step": number, "tensor": tensor.fill_(number)}, Path("last.ckpt"))
    print(number, flush=True)
"""


def test_a_kill_in_the_middle_of_a_write_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    kills = int(os.environ.get("DAT_KILLS", "2"))
    for kill in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", WRITING, str(LARGE)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            done = [int(process.stdout.readline()) for _ in range(2)][-1]
            time.sleep((kill + 0.5) / kills * 0.2)
            process.send_signal(signal.SIGKILL)
        last = open_checkpoint(tmp_path / "last.ckpt")
        assert last["step"] >= done
        assert last["tensor"].eq(last["step"]).all()
        assert open_checkpoint(tmp_path / PREVIOUS)["step"] >= done - 1
    for rest in tmp_path.iterdir():
        rest.unlink()


def test_what_is_no_plain_checkpoint_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"path": Path("x")}, tmp_path / "last.ckpt")
    with pytest.raises(WeightsError, match="could run code"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
