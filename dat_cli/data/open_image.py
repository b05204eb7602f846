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


def open_image(source: str) -> Image.Image:
    """A picture, upright, in RGB with 8 bits, as ``load_image`` gives it.

    Args:
        source: A path, an address of http or https, or ``-`` for the bytes of standard input, which are read once in
            a process and kept. A file of that name is ``./-``.

    Raises:
        DataError: It cannot be read or decoded, or has more than 128 MiB; names it and says why.
        HubError: The server refuses, is out of reach, or has not sent all of it within a minute.
    """
    if source == STANDARD_INPUT:
        return load_image(BytesIO(standard_input()), "standard input")
    if is_remote(source):
        return load_image(BytesIO(_fetched(source)), shown(source))
    return load_image(source)


@cache
def standard_input() -> bytes:
    """All bytes of standard input; the same however often it is asked for.

    Processes that decode have no standard input of their own: ask for it before they are started.

    Raises:
        DataError: It is a terminal, closed or empty, or there are more than 128 MiB.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        raise DataError("nothing comes on standard input", hint="pipe an image, as in - < photo.jpg")
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not data:
        raise DataError("standard input is empty", hint="pipe an image, as in - < photo.jpg")
    return _bounded(data, "standard input")


def _fetched(address: str) -> bytes:
    """The bytes of an address.

    A thread asks for them, because nothing else bounds the time that a name server or a slow trickle takes.
    """
    answers: list[bytes | Exception] = []
    until = time.monotonic() + _MOST_SECONDS
    asking = threading.Thread(target=_ask, args=[address, until, answers], daemon=True, name="dat-fetch")
    asking.start()
    asking.join(_MOST_SECONDS)
    if not answers:
        hint = "check the connection, or try again later"
        raise HubError(f"cannot read {shown(address)}: it takes longer than {_MOST_SECONDS:g} seconds", hint=hint)
    (answer,) = answers
    if isinstance(answer, Exception):
        raise answer
    return _bounded(answer, shown(address))


def _ask(address: str, until: float, answers: list[bytes | Exception]) -> None:
    try:
        file = RemoteFile(address)
        try:
            data = bytearray()
            while (piece := file.read(_PIECE)) and len(data) <= _MOST_BYTES:
                data += piece
                if time.monotonic() > until:
                    return
            answers.append(bytes(data))
        finally:
            file.close()
    except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for the answer
        answers.append(error)


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > _MOST_BYTES:
        raise DataError(f"cannot read {name}: it has more than {_MOST_BYTES >> 20} MiB")
    return data
