"""What an exception of the Hub's client says about itself.

The client's HTTP library changes its name between releases (httpx, httpx2), so that exceptions are known by the names
of their classes. What a server says is shown as ASCII of bounded length; headers and tokens are never shown.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

from dat_cli.hub.client.addresses import is_of_hub
from dat_cli.hub.tokens import hide_token

Kind = Literal[
    "offline", "login", "token", "address", "gated", "revision", "file",
    "timeout", "unreachable", "broken", "garbled", "short",
    "unauthorized", "forbidden", "missing", "changed", "busy", "failing", "storage", "answer", "other",
]  # fmt: skip

# The first whose class is met decides; a class stands before those that it inherits from.
_BY_CLASS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("offline", ("OfflineModeIsEnabled",)),
    ("login", ("LocalTokenNotFoundError",)),
    ("token", ("LocalProtocolError", "UnicodeEncodeError")),  # a header that cannot be sent: only the token is a user's
    ("address", ("UnsupportedProtocol", "InvalidURL", "MissingSchema", "InvalidSchema")),
    ("gated", ("GatedRepoError",)),
    ("revision", ("RevisionNotFoundError",)),
    ("file", ("RemoteEntryNotFoundError",)),
    ("timeout", ("TimeoutException", "Timeout", "TimeoutError")),
    ("unreachable", ("ConnectError", "ProxyError", "ConnectionRefusedError", "SSLError", "gaierror")),
    ("garbled", ("JSONDecodeError",)),
    ("broken", ("NetworkError", "ProtocolError", "ConnectionError", "ChunkedEncodingError", "DecodingError")),
)
_BY_STATUS: dict[int, Kind] = {
    401: "unauthorized", 403: "forbidden", 404: "missing", 408: "failing", 412: "changed", 429: "busy",
}  # fmt: skip
_PASSING: tuple[Kind, ...] = (
    "timeout", "unreachable", "broken", "garbled", "short", "busy", "failing", "storage",
)  # fmt: skip
_WRAPPERS = (
    "Unanswered", "RuntimeError", "ValueError",
    "LocalEntryNotFoundError", "RevisionResolutionError", "IncompleteSnapshotError",
)  # fmt: skip


def root_of(error: Exception) -> Exception:
    """The exception that there was before a general one was raised, such as "not found on this machine"."""
    while isinstance(error.__cause__, Exception) and type(error).__name__ in _WRAPPERS:
        error = error.__cause__
    return error


def kind_of(error: Exception) -> Kind:
    """What kind of problem it is: by the names of its classes, or by the status that a server answered."""
    names, status = names_of(error), status_of(error)
    if "HfHubHTTPError" in names and is_of_storage(error) and status is not None and not is_passing_status(status):
        return "storage"
    for kind, classes in _BY_CLASS:
        if names & set(classes):
            return kind
    if status is not None:
        return "failing" if status >= 500 else _BY_STATUS.get(status, "answer")
    return "short" if str(error).startswith("Consistency check failed") else "other"


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed soon. A link to the storage expires, and asking again brings a new one."""
    return kind_of(error) in _PASSING


def is_passing_status(status: int) -> bool:
    """Whether the server says that it cannot answer now: 408, 429 and 5xx."""
    return status in (408, 429) or status >= 500


def is_of_machine(error: Exception) -> bool:
    """Whether it is about this machine: the disk, memory, the installation, a home folder that is not known."""
    if isinstance(error, RuntimeError):
        return "home directory" in str(error)
    if isinstance(error, OSError) and type(error).__module__ == "builtins":
        return kind_of(error) == "other"
    return isinstance(error, MemoryError | ImportError)


def is_of_storage(error: Exception) -> bool:
    """Whether it was not the Hub itself that was asked, but the place where it keeps large files."""
    request = _request(error)
    return request is not None and (request.method == "PUT" or not is_of_hub(str(request.url)))


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the server answered, where it did."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait; None when it does not say."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    plainly = re.fullmatch(r"\s*(\d{1,7})\s*", headers.get("Retry-After", ""))
    found = plainly or re.search(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,7})\b", headers.get("RateLimit", ""))
    return float(found[1]) if found else None


def sent_token(error: Exception) -> bool:
    """Whether the request that was refused carried a token."""
    return "authorization" in getattr(_request(error), "headers", {})


def is_write(error: Exception) -> bool:
    """Whether the request was to change something, or asked whether it may."""
    return getattr(_request(error), "method", "GET") not in ("GET", "HEAD") or path_of(error).endswith("/write")


def path_of(error: Exception) -> str:
    """Path of the request's address."""
    return urlsplit(address_of(error)).path


def address_of(error: Exception) -> str:
    """The address that was asked; empty where that is not known."""
    return str(getattr(_request(error), "url", ""))


def server_words(error: Exception) -> str:
    """What the server says, in parentheses after a blank; nothing when it says nothing."""
    said = getattr(error, "server_message", None)
    return f" ({plain(said, 150)})" if isinstance(said, str) and said.strip() else ""


def words_of(error: Exception) -> str:
    """The first line of what a library says, without the part of an address where a signature may stand."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return plain(" ".join(word.partition("?")[0] for word in first.split()), 200)


def plain(text: str, longest: int) -> str:
    """``text`` as ASCII on one line, cut to ``longest`` signs, without a token."""
    shown = ascii(" ".join(hide_token(text).split()))[1:-1]
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def names_of(error: BaseException) -> set[str]:
    """Names of its class and of those that it inherits from."""
    return {kind.__name__ for kind in type(error).__mro__}


def _request(error: Exception) -> Any:
    response = getattr(error, "response", None)
    with suppress(RuntimeError):  # of httpx, for a request that is not known
        return getattr(error if response is None else response, "request", None)
    return None
