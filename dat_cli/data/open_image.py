"""Open a picture wherever it lies: in a file, on standard input or on a web server."""

from __future__ import annotations

import sys
import threading
import time
from functools import cache
from io import BytesIO

from PIL import Image

from dat_cli.data.image import load_image
from dat_cli.data.remote_file import RemoteFile, shown
from dat_cli.data.shard_addresses import is_remote
from dat_cli.errors import DataError, HubError

STANDARD_INPUT = "-"

_MOST_BYTES = 128 << 20
_MOST_SECONDS = 60.0  # for all of an address, with every new attempt
_PIECE = 1 << 12  # bytes between two looks at the clock


def open_image(source: str, data: bytes | None = None) -> Image.Image:
    """A picture, upright, in RGB with 8 bits, as ``load_image`` gives it.

    Args:
        source: A path, an address of http or https, or ``-`` for the bytes of standard input, which are read once in
            a process and kept. A file of that name is ``./-``.
        data: The bytes of an address or of standard input, from somebody who has them already.

    Raises:
        DataError: It cannot be read or decoded, or has more than 128 MiB; names it and says why.
        HubError: The server refuses, is out of reach, or has not sent all of it within a minute.
    """
    if source == STANDARD_INPUT:
        return load_image(BytesIO(standard_input() if data is None else data), "standard input")
    if is_remote(source):
        return load_image(BytesIO(Fetch(source).result() if data is None else data), shown(source))
    return load_image(source)


@cache
def standard_input() -> bytes:
    """All bytes of standard input; the same however often it is asked for.

    Raises:
        DataError: It is a terminal, closed or empty, or there are more than 128 MiB.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise DataError("nothing comes on standard input", hint="pipe an image, as in - < photo.jpg")
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not data:
        raise DataError("standard input is empty", hint="pipe an image, as in - < photo.jpg")
    return _bounded(data, "standard input")


def piped() -> bytes | None:
    """The bytes of standard input, if this process has read it: for processes that have none of their own."""
    return standard_input() if standard_input.cache_info().currsize else None


class Fetch:
    """The bytes of an address, which a thread asks for from now on.

    A thread, because nothing else bounds the time that a name server or a slow trickle takes, and because others can be
    asked meanwhile.

    Args:
        address: Of http or https.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._answers: list[bytes | Exception] = []
        self._until = time.monotonic() + _MOST_SECONDS
        self._thread = threading.Thread(target=self._ask, daemon=True, name="dat-fetch")
        self._thread.start()

    def result(self) -> bytes:
        """Wait for them.

        Raises:
            DataError: It is no address, or there are more than 128 MiB.
            HubError: The server refuses, is out of reach, or has not sent all of it within a minute.
        """
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if not self._answers:
            hint = "check the connection, or try again later"
            said = f"it takes longer than {_MOST_SECONDS:g} seconds"
            raise HubError(f"cannot read {shown(self.address)}: {said}", hint=hint)
        (answer,) = self._answers
        if isinstance(answer, Exception):
            raise answer
        return _bounded(answer, shown(self.address))

    def _ask(self) -> None:
        try:
            file = RemoteFile(self.address)
            try:
                data = bytearray()
                while (piece := file.read(_PIECE)) and len(data) <= _MOST_BYTES:
                    data += piece
                    if time.monotonic() > self._until:
                        return
                self._answers.append(bytes(data))
            finally:
                file.close()
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for the answer
            self._answers.append(error)


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > _MOST_BYTES:
        raise DataError(f"cannot read {name}: it has more than {_MOST_BYTES >> 20} MiB")
    return data
