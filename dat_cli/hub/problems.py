"""What the Hub, its client or the network say, in our words."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from dat_cli.errors import HubError
from dat_cli.hub.exceptions import (
    LIBRARIES,
    Kind,
    is_of_library,
    is_write,
    kind_of,
    names_of,
    path_of,
    plain,
    retry_after,
    root_of,
    sent_token,
    server_words,
    status_of,
    words_of,
)
from dat_cli.hub.names import RepoName

__all__ = ["LOG_IN", "endpoint", "kind_of", "root_of", "status_of", "translate"]

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
SETTINGS = "https://huggingface.co/settings/tokens"
_UNREADABLE = "HF_ENDPOINT"


def translate(error: Exception, repo: RepoName | None, doing: str) -> HubError | None:
    """One line about an exception, or None when it is not about the Hub: a full disk, or a mistake in our code.

    Args:
        error: What was raised while something was asked of the Hub.
        repo: The repository that it was about.
        doing: What was tried, in words that can follow "cannot".
    """
    error = root_of(error)
    kind = "address" if endpoint() == _UNREADABLE else kind_of(error)
    if kind == "answer":
        message, hint = _of_answer(error, repo)
    elif kind == "other":
        if not is_of_library(error):
            return None
        message, hint = _of_client(error), None
    else:
        message, hint = _of_network(kind, error)
    return HubError(f"cannot {doing}: {message}", hint=hint)


def endpoint() -> str:
    """Scheme and host of the Hub, without a password that an address may hold."""
    loaded = sys.modules.get("huggingface_hub.constants")
    address = loaded.ENDPOINT if loaded else os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        parts = urlsplit(address)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else address
    except ValueError:
        shown = _UNREADABLE
    return plain(shown, 100)


def _of_answer(error: Exception, repo: RepoName | None) -> tuple[str, str | None]:
    """Message and hint about a server's refusal."""
    status, names = status_of(error), names_of(error)
    page = f"{endpoint()}/{repo.id}" if repo else endpoint()
    what = repo.id if repo else "it"
    if "GatedRepoError" in names:
        first = "" if sent_token(error) else f"{LOG_IN}, and "
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
    if status == 404 and ("RepositoryNotFoundError" in names or not server_words(error)):
        return f"there is no repository {what}, or it is private to others", "check the name"
    return _other_status(error)


def _unauthorized(error: Exception, what: str) -> tuple[str, str]:
    if sent_token(error):
        hint = "log in again with `hf auth login`, or correct HF_TOKEN"
        return "the Hub does not accept your token; it is mistyped, revoked or has expired", hint
    if is_write(error) or "whoami" in path_of(error):
        return "you are not logged in", LOG_IN
    return f"{what} is private or does not exist, and you are not logged in", f"check the name, or {LOG_IN}"


def _forbidden(error: Exception, what: str) -> tuple[str, str]:
    if is_write(error):
        hint = f"make a token that may write at {SETTINGS}, and {LOG_IN}"
        return f"your token may not write to {what}; it is read-only, or the repository belongs to somebody else", hint
    return f"the Hub forbids it{server_words(error)}", "check what your token may do" if sent_token(error) else LOG_IN


def _other_status(error: Exception) -> tuple[str, str]:
    status, said = status_of(error) or 0, server_words(error)
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
        "unreachable": (f"the Hub at {host} cannot be reached ({words_of(error)})", check),
        "broken": (f"the connection to the Hub at {host} broke ({words_of(error)})", "try again"),
        "token": ("your token holds signs that no token has", "log in again with `hf auth login`, or correct HF_TOKEN"),
        "address": (f"{host} is no address of a Hub", "correct HF_ENDPOINT"),
        "garbled": (f"what {host} answered is not what a Hub answers ({words_of(error)})", f"try again, or {check}"),
        "short": ("a file arrived incomplete", "try again"),
    }
    return messages[kind]


def _of_client(error: Exception) -> str:
    """What the client itself objects to; another exception in it means that it met no Hub, or strange settings."""
    words = words_of(error)
    if type(error).__module__.partition(".")[0] in LIBRARIES:
        return words
    return f"the client of the Hub fails with {endpoint()} ({type(error).__name__}: {words})"
