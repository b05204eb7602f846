"""Images on their way to the network: from wherever they lie, and many at once."""

from __future__ import annotations

import io
import pickle
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from dat_cli.catalog import Preprocessing
from dat_cli.data import open_image as module
from dat_cli.data import remote_file
from dat_cli.data.open_image import standard_input
from dat_cli.run.batches import Decode, File

if TYPE_CHECKING:
    from tests.conftest import Hub

SMALL = Preprocessing(input_size=(3, 32, 32))


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_processes_that_are_started_anew_have_what_came_on_standard_input(
    png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png.read_bytes())))
    standard_input.cache_clear()
    try:
        standard_input()
        sent = pickle.dumps(Decode(SMALL))
    finally:
        standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", None)
    decode = pickle.loads(sent)
    (_, image), (_, expected) = decode.__getitems__([File(0, "-"), File(1, str(png))])
    assert torch.equal(image, expected)


def test_slow_servers_of_a_batch_are_waited_for_together(png: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SECONDS", 1.0)
    monkeypatch.setattr(remote_file, "_ATTEMPTS", 1)  # threads end with the test
    good = hub.serve("/a.png", png.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}/slow.png"
        paths = [slow, good, slow, str(png), slow, slow, "gone.png", good, *[good] * 9]
        started = time.monotonic()
        decoded = Decode(SMALL).__getitems__([File(number, path) for number, path in enumerate(paths)])
    assert time.monotonic() - started < 2.5
    assert [file._replace(error=None) for file, _ in decoded] == [File(*one) for one in enumerate(paths)]
    assert [image is None for _, image in decoded] == [path in (slow, "gone.png") for path in paths]
    assert all("it takes longer than 1 seconds" in str(file.error) for file, _ in decoded if file.path == slow)
