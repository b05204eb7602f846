"""What an exception of the Hub's client says about itself.

The client's HTTP library changes its name between releases (httpx, httpx2), so that exceptions are known by the names
of their classes. What a server says is shown as ASCII of bounded length; headers and tokens are never shown.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from dat_cli.hub.tokens import hide_token

Kind = Literal[
    "offline", "login", "answer", "timeout", "unreachable", "broken", "token", "address", "short", "garbled", "other"
]

# The first whose class is met decides; a class stands before those that it inherits from.
_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("offline", ("OfflineModeIsEnabled",)),
    ("login", ("LocalTokenNotFoundError",)),
    ("token", ("LocalProtocolError", "UnicodeEncodeError")),  # a header that cannot be sent: only the token is a user's
    ("address", ("UnsupportedProtocol", "InvalidURL", "MissingSchema", "InvalidSchema")),
    ("timeout", ("TimeoutException", "Timeout", "TimeoutError")),
    ("unreachable", ("ConnectError", "ProxyError", "ConnectionRefusedError", "SSLError", "gaierror")),
    ("garbled", ("JSONDecodeError",)),
    ("broken", ("NetworkError", "ProtocolError", "ConnectionError", "ChunkedEncodingError", "DecodingError")),
)
_WRAPPERS = ("LocalEntryNotFoundError", "RevisionResolutionError", "ValueError", "IncompleteSnapshotError")
LIBRARIES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "urllib3", "hf_xet")


def root_of(error: Exception) -> Exception:
    """The exception that the client had before it raised a general one, such as "not found on this machine"."""
    while isinstance(error.__cause__, Exception) and type(error).__name__ in _WRAPPERS:
        error = error.__cause__
    return error


def kind_of(error: Exception) -> Kind:
    """What kind of problem it is, by the names of its classes."""
    if status_of(error) is not None:
        return "answer"
    names = names_of(error)
    for kind, classes in _KINDS:
        if names & set(classes):
            return kind
    return "short" if str(error).startswith("Consistency check failed") else "other"


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the server answered, where it did."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def retry_after(error: BaseException) -> float | None:
    """Seconds that the server asks to wait; None when it does not say."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:  # not said, or as a date
        return None


def sent_token(error: Exception) -> bool:
    """Whether the request that was refused carried a token."""
    return "authorization" in getattr(_request(error), "headers", {})


def is_write(error: Exception) -> bool:
    """Whether the request was to change something, or asked whether it may."""
    return getattr(_request(error), "method", "GET") not in ("GET", "HEAD") or path_of(error).endswith("/write")


def path_of(error: Exception) -> str:
    """Path of the request's address."""
    return urlsplit(str(getattr(_request(error), "url", ""))).path


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


def is_of_library(error: Exception) -> bool:
    """Whether it arose in the client: an exception of its own, or any other when ours is not the innermost code."""
    if any(kind.__module__.partition(".")[0] in LIBRARIES for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError | MemoryError | ImportError):  # the disk, the machine, the installation
        return False
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return not module.startswith("dat_cli")


def _request(error: Exception) -> Any:
    return getattr(getattr(error, "response", None), "request", None)
