"""What the Hub, its client or the network say, in our words.

The client's HTTP library changes its name between releases (httpx, httpx2), so that exceptions are known by the names
of their classes. What a server says is shown as ASCII of bounded length; headers and tokens are never shown.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Literal
from urllib.parse import urlsplit

from dat_cli.errors import HubError
from dat_cli.hub.names import RepoName
from dat_cli.hub.tokens import hide_token

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
SETTINGS = "https://huggingface.co/settings/tokens"

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
_LIBRARIES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "urllib3", "hf_xet")


def translate(error: Exception, repo: RepoName | None, doing: str) -> HubError | None:
    """One line about an exception, or None when it is not about the Hub: a full disk, or a mistake in our code.

    Args:
        error: What was raised while something was asked of the Hub.
        repo: The repository that it was about.
        doing: What was tried, in words that can follow "cannot".
    """
    error = root_of(error)
    kind = kind_of(error)
    if kind == "answer":
        message, hint = _of_answer(error, repo)
    elif kind == "other":
        if not _is_of_library(error):
            return None
        message, hint = _of_client(error), None
    else:
        message, hint = _of_network(kind, error)
    return HubError(f"cannot {doing}: {message}", hint=hint)


def root_of(error: Exception) -> Exception:
    """The exception that the client had before it raised a general one, such as "not found on this machine"."""
    while isinstance(error.__cause__, Exception) and type(error).__name__ in _WRAPPERS:
        error = error.__cause__
    return error


def kind_of(error: Exception) -> Kind:
    """What kind of problem it is, by the names of its classes."""
    if status_of(error) is not None:
        return "answer"
    names = _names(error)
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


def endpoint() -> str:
    """Scheme and host of the Hub, without a password that an address may hold."""
    loaded = sys.modules.get("huggingface_hub.constants")
    address = loaded.ENDPOINT if loaded else os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        parts = urlsplit(address)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else address
    except ValueError:
        shown = "HF_ENDPOINT"
    return _plain(shown, 100)


def _of_answer(error: Exception, repo: RepoName | None) -> tuple[str, str | None]:
    """Message and hint about a server's refusal."""
    status, names = status_of(error), _names(error)
    page = f"{endpoint()}/{repo.id}" if repo else endpoint()
    what = repo.id if repo else "it"
    if "GatedRepoError" in names:
        first = "" if _sent_token(error) else f"{LOG_IN}, and "
        return f"{what} is gated: its owner lets in who asks", f"{first}ask for access on {page}"
    if "RevisionNotFoundError" in names:
        revision = ascii(repo.revision) if repo and repo.revision else "main"
        return f"{what} has no revision {revision}", f"give a branch, a tag or a commit; see {page}"
    if "EntryNotFoundError" in names:
        return f"{what} has no such file", f"see {page}"
    if status == 401:
        return _unauthorized(error, what)
    if status == 403:
        return _forbidden(error, what)
    if status == 404 and ("RepositoryNotFoundError" in names or not _server_words(error)):
        return f"there is no repository {what}, or it is private to others", "check the name"
    return _other_status(error)


def _unauthorized(error: Exception, what: str) -> tuple[str, str]:
    if _sent_token(error):
        hint = "log in again with `hf auth login`, or correct HF_TOKEN"
        return "the Hub does not accept your token; it is mistyped, revoked or has expired", hint
    if _is_write(error) or "whoami" in _path(error):
        return "you are not logged in", LOG_IN
    return f"{what} is private or does not exist, and you are not logged in", f"check the name, or {LOG_IN}"


def _forbidden(error: Exception, what: str) -> tuple[str, str]:
    if _is_write(error):
        hint = f"make a token that may write at {SETTINGS}, and {LOG_IN}"
        return f"your token may not write to {what}; it is read-only, or the repository belongs to somebody else", hint
    return f"the Hub forbids it{_server_words(error)}", "check what your token may do" if _sent_token(error) else LOG_IN


def _other_status(error: Exception) -> tuple[str, str]:
    status, said = status_of(error) or 0, _server_words(error)
    if status == 429:
        seconds = retry_after(error)
        return "the Hub answers no more requests for now (429)", (
            f"try again in {seconds:.0f} seconds" if seconds else "try again later; who is logged in may ask more often"
        )
    if status == 412:
        return "somebody else has changed the repository meanwhile; nothing of it was changed now", "try again"
    if status >= 500 or status == 408:
        return f"the Hub answered {status}{said}", "try again later"
    return f"the Hub answered {status}{said}", f"see {endpoint()}"


def _of_network(kind: Kind, error: Exception) -> tuple[str, str]:
    """Message and hint when there was no answer."""
    host = endpoint()
    check = "check the connection and HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else "check the connection"
    messages: dict[Kind, tuple[str, str]] = {
        "login": ("you are not logged in", LOG_IN),
        "offline": ("requests are switched off by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE"),
        "timeout": (f"the Hub at {host} did not answer in time", f"{check}, or try again later"),
        "unreachable": (f"the Hub at {host} cannot be reached ({_words(error)})", check),
        "broken": (f"the connection to the Hub at {host} broke ({_words(error)})", "try again"),
        "token": ("your token holds signs that no token has", "log in again with `hf auth login`, or correct HF_TOKEN"),
        "address": (f"{host} is no address of a Hub", "correct HF_ENDPOINT"),
        "garbled": (_of_client(error), f"try again, or {check}"),
        "short": ("a file arrived incomplete", "try again"),
    }
    return messages[kind]


def _of_client(error: Exception) -> str:
    """What the client itself objects to; anything but its own exceptions means that it met no Hub."""
    if type(error).__module__.partition(".")[0] in _LIBRARIES:
        return _words(error)
    return f"what {endpoint()} answered is not what a Hub answers ({type(error).__name__}: {_words(error)})"


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _sent_token(error: Exception) -> bool:
    return "authorization" in getattr(_request(error), "headers", {})


def _is_write(error: Exception) -> bool:
    return getattr(_request(error), "method", "GET") not in ("GET", "HEAD") or _path(error).endswith("/write")


def _path(error: Exception) -> str:
    return urlsplit(str(getattr(_request(error), "url", ""))).path


def _request(error: Exception) -> Any:
    return getattr(getattr(error, "response", None), "request", None)


def _server_words(error: Exception) -> str:
    said = getattr(error, "server_message", None)
    return f" ({_plain(said, 150)})" if isinstance(said, str) and said.strip() else ""


def _words(error: Exception) -> str:
    """The first line of what a library says, without the part of an address where a signature may stand."""
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _plain(" ".join(word.partition("?")[0] for word in first.split()), 200)


def _plain(text: str, longest: int) -> str:
    shown = ascii(" ".join(hide_token(text).split()))[1:-1]
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _is_of_library(error: Exception) -> bool:
    """Whether it arose in the client: an exception of its own, or any other when ours is not the innermost code."""
    if any(kind.__module__.partition(".")[0] in _LIBRARIES for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError | MemoryError | ImportError):  # the disk, the machine, the installation
        return False
    trace, module = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return not module.startswith("dat_cli")
