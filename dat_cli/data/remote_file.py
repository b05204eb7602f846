"""A file on a web server, read from its beginning; what breaks on the way is taken up where it broke."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from dat_cli import __version__
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, HubError

T = TypeVar("T")

SCHEMES = ("http", "https")

_SILENCE = 30.0  # seconds without a byte until a request is given up
_ATTEMPTS = 6  # in a row without a byte; the pauses between them make 15 seconds together
_PAUSE = 0.5  # seconds before the second attempt, twice as many before each further one
_LONGEST_WAIT = 60.0  # seconds; a server that asks for a longer pause is not asked again
_PIECE = 1 << 20
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)
_MISSING = (401, 403, 404, 410)  # the first two from storage that does not tell what it lacks

_log = logging.getLogger("dat.data")


class RemoteFile:
    """A file behind an address of http or https, to be read once from its beginning.

    Args:
        url: The address. No token is sent there.

    Raises:
        DataError: It is no such address.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self._answer: HTTPResponse | None = None
        self._position = 0
        self._size: int | None = None
        self._mark: str | None = None

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than ``size`` only at the end.

        Raises:
            HubError: The server refuses, is out of reach, or breaks off again and again.
            DataError: The file was changed while it was read.
        """
        pieces: list[bytes] = []
        while size and (piece := _patiently(partial(self._read_some, size), self.url)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def size(self) -> int | None:
        """Bytes of the file; None where the server does not say.

        Raises:
            HubError: The server refuses or is out of reach.
        """
        if self._answer is None and self._size is None:
            _patiently(self._open, self.url)
        return self._size

    def close(self) -> None:
        """Hang up."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _read_some(self, size: int) -> bytes:
        if self._answer is None:
            if self._size is not None and self._position >= self._size:
                return b""
            self._open()
        assert self._answer is not None  # noqa: S101 - for the type checker
        try:
            data = self._answer.read(size)
            if not data and self._size is not None and self._position < self._size:
                raise ConnectionError("the connection broke")
        except BaseException:
            self.close()
            raise
        self._position += len(data)
        return data

    def _open(self) -> None:
        """Ask for what is left of the file."""
        start = self._position
        answer = _ask(self.url, {"Range": f"bytes={start}-"} if start else {})
        try:
            first, size = self._part(answer)
            if first not in (0, start):
                raise _refused(self.url, "the server sent another part of the file than it was asked for")
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            is_other = self._size is not None and size is not None and size != self._size
            if start and (mark != self._mark or is_other):
                raise DataError(f"{shown(self.url)} was changed while it was read", hint="start again")
            for passed in range(first, start, _PIECE):  # a server without ranges begins anew
                piece = min(_PIECE, start - passed)
                if len(answer.read(piece)) < piece:
                    raise ConnectionError("the connection broke")
        except BaseException:
            answer.close()
            raise
        self._answer, self._mark = answer, mark
        self._size = size if self._size is None else self._size

    def _part(self, answer: HTTPResponse) -> tuple[int, int | None]:
        """Where the part that is sent begins, and the bytes of the whole file, if the server says so."""
        length = None if answer.chunked else answer.headers.get("Content-Length")
        if length is not None and not _LENGTH.fullmatch(length):
            raise _refused(self.url, f"the server says that it has {printable(length)[:40]!r} bytes")
        if answer.status == 200:
            return 0, None if length is None else int(length)
        part = _RANGE.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
        if part is None:
            raise _refused(self.url, f"the server answered {answer.status}, without the file")
        first, total = int(part[1]), part[2]
        if total != "*":
            return first, int(total)
        return first, None if length is None else first + int(length)


def fetch(url: str, *, limit: int) -> bytes | None:
    """A small file; None when the server has no such file.

    Raises:
        HubError: The server refuses or is out of reach.
        DataError: The file is larger than ``limit`` bytes.
    """
    file = RemoteFile(url)
    try:
        data = file.read(limit + 1)
    except _MissingError:
        return None
    finally:
        file.close()
    if len(data) > limit:
        raise DataError(f"{shown(url)} has more than {limit} bytes")
    return data


def shown(address: str) -> str:
    """An address or a path as one line of bounded length, without passwords and signatures."""
    scheme, separator, _ = address.partition("://")
    if separator and scheme.lower() in SCHEMES:
        with suppress(ValueError):
            parts = urlsplit(address)
            address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    text = printable(address)
    return text if len(text) <= 300 else f"{text[:148]}...{text[-148:]}"


class _MissingError(HubError):
    """The server has no such file."""


def _refused(url: str, said: str) -> HubError:
    return HubError(f"cannot read {shown(url)}: {said}", hint="check the address")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise DataError(f"{shown(url)} is no address of a web server", hint="it begins with https://")
    if "@" in parts.netloc:
        raise DataError(f"the address of {shown(url)} holds the name or the password of a user", hint="leave it out")
    return url


def _patiently(call: Callable[[], T], url: str) -> T:
    """Ask again when what went wrong may pass."""
    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except (OSError, HTTPException) as error:  # noqa: PERF203 - each round waits for a server
            said, wait = _judge(error)
            if attempt == _ATTEMPTS - 1 or wait is None:
                hint = "check the address" if wait is None else "check the connection, or try again later"
                kind = _MissingError if isinstance(error, HTTPError) and error.code in _MISSING else HubError
                raise kind(f"cannot read {shown(url)}: {said}", hint=hint) from None
            _log.info("%s: %s; trying again", shown(url), said)
            time.sleep(wait or _PAUSE * 2**attempt)
    raise AssertionError  # the last attempt returns or raises


def _judge(error: Exception) -> tuple[str, float | None]:
    """What to say, and the seconds that the server asks to wait, 0 where it does not; None: asking again is no use."""
    if isinstance(error, HTTPError):
        error.close()
        said = f"the server answered {error.code} ({_in_one_line(str(error.reason), 80).lower()})"
        if error.code not in (408, 429) and error.code < 500:
            return said, None
        after = error.headers.get("Retry-After", "") if error.headers else ""
        wait = float(after) if after.isdecimal() and len(after) < 8 else 0.0
        return said, wait if wait <= _LONGEST_WAIT else None
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return "the server did not answer in time", 0.0
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason) or type(reason).__name__
    return _in_one_line(words, 200).lower(), 0.0


def _in_one_line(words: str, most: int) -> str:
    return printable(" ".join(words.split()))[:most]


def _ask(url: str, headers: dict[str, str]) -> HTTPResponse:
    # Compressed answers would have other lengths.
    plain = {"Accept-Encoding": "identity", "User-Agent": f"dat-cli/{__version__}", **headers}
    try:
        answer = _opener().open(Request(url, headers=plain), timeout=_SILENCE)  # noqa: S310 - see _checked and _opener
    except ValueError as error:  # of a redirection, whose address nobody has checked
        raise _refused(url, f"the server leads elsewhere: {_in_one_line(str(error), 100)}") from error
    if not isinstance(answer, HTTPResponse):
        raise _refused(url, "the server leads to what is no web server")
    return answer


def _opener() -> OpenerDirector:
    """What can follow http and https, and nothing else: urllib's own would follow a redirection to ftp."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
