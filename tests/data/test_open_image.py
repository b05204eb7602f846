"""A picture is the same wherever it lies, and what is wrong there is said in one line."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dat_cli.data import open_image as module
from dat_cli.data import remote_file
from dat_cli.data.image import load_image
from dat_cli.data.open_image import open_image, standard_input
from dat_cli.errors import DataError, HubError

if TYPE_CHECKING:
    from tests.conftest import Hub


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remote_file, "_PAUSE", 0.001)
    standard_input.cache_clear()
    yield
    standard_input.cache_clear()


@pytest.fixture
def turned(photo: Image.Image, tmp_path: Path) -> Path:
    """A photograph that lies on its side and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    return tmp_path / "turned.jpg"


def pipe_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_files_standard_input_and_web_servers_give_the_same(
    turned: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, turned.read_bytes())
    address = hub.serve("/turned.jpg", turned.read_bytes())
    expected = np.asarray(load_image(turned))
    assert expected.shape == (64, 48, 3)
    for source in (str(turned), "-", "-", address, f"{address}?signature=x"):  # standard input can be opened again
        assert np.array_equal(np.asarray(open_image(source)), expected)
    assert not any(request["auth"] for request in hub.log())


def test_a_connection_that_breaks_is_taken_up(turned: Path, hub: Hub) -> None:
    address = hub.serve("/turned.jpg", turned.read_bytes())
    hub.fault(r"GET /turned\.jpg", "truncate", after=100)
    assert open_image(address).size == (48, 64)


def test_what_a_server_lacks_or_does_not_know_as_an_image_is_said_without_secrets(hub: Hub) -> None:
    with pytest.raises(HubError, match=r"cannot read http://[^?]*/gone\.jpg: the server answered 404"):
        open_image(f"{hub.url}/gone.jpg?signature=secret")
    page = hub.serve("/page.jpg", b"<html>not here</html>")
    with pytest.raises(DataError, match=r"cannot read http://\S*/page\.jpg: it is no image") as told:
        open_image(f"{page}?signature=secret")
    assert "secret" not in str(told.value)


def test_what_is_no_address_is_not_asked_for() -> None:
    with pytest.raises(DataError, match="is no address of a web server"):
        open_image("http://")


def test_nothing_larger_than_the_limit_is_kept(turned: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 500)
    address = hub.serve("/large.jpg", turned.read_bytes())
    pipe_in(monkeypatch, turned.read_bytes())
    for source in (address, "-"):
        with pytest.raises(DataError, match="it has more than 0 MiB"):
            open_image(source)


def test_a_server_that_says_nothing_costs_no_more_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(HubError, match=r"it takes longer than 0\.2 seconds"):
            open_image(f"http://127.0.0.1:{silent.getsockname()[1]}/slow.jpg")
    assert time.monotonic() - started < 5


def test_what_a_server_says_is_shown_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as strange:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = strange.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(b"220 mail.example  ready\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(HubError, match=r"/a\.jpg: 220 mail\.example ready;"):
            open_image(f"http://127.0.0.1:{strange.getsockname()[1]}/a.jpg")


def test_an_empty_standard_input_and_one_that_is_no_image_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe_in(monkeypatch, b"")
    with pytest.raises(DataError, match="standard input is empty; pipe an image"):
        open_image("-")
    pipe_in(monkeypatch, b"no image")
    with pytest.raises(DataError, match="cannot read standard input: it is no image"):
        open_image("-")
