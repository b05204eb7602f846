"""What the Hub, its client or the network say, in our words."""

from __future__ import annotations

import os
from collections.abc import Callable

from dat_cli.errors import HubError
from dat_cli.hub.client.addresses import endpoint, proxy_of, shown
from dat_cli.hub.client.exceptions import (
    Kind,
    address_of,
    is_of_machine,
    is_of_storage,
    is_write,
    kind_of,
    names_of,
    path_of,
    retry_after,
    root_of,
    sent_token,
    server_words,
    status_of,
    words_of,
)
from dat_cli.hub.names import RepoName

LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
NEW_TOKEN = f"make a token that may write at https://huggingface.co/settings/tokens, and {LOG_IN}"
_LOG_IN_AGAIN = "log in again with `hf auth login`, or correct HF_TOKEN"

Said = tuple[str, str | None]
"""What is wrong, and what to do next."""


def translate(error: Exception, repo: RepoName | None, doing: str) -> HubError | None:
    """One line about an exception, or None when it is not about the Hub but about this machine.

    Args:
        error: What was raised while something was asked of the Hub.
        repo: The repository that it was about.
        doing: What was tried, in words that can follow "cannot".
    """
    error = root_of(error)
    if is_of_machine(error):
        return None
    message, hint = _SAY[kind_of(error)](error, repo)
    return HubError(f"cannot {doing}: {message}", hint=hint)


# A server's refusals


def _gated(error: Exception, repo: RepoName | None) -> Said:
    first = "" if sent_token(error) else f"{LOG_IN}, and "
    return f"{_name(repo)} is gated: its owner lets in who asks", f"{first}ask for access on {_page(repo)}"


def _revision(_: Exception, repo: RepoName | None) -> Said:
    revision = ascii(repo.revision) if repo and repo.revision else "main"
    return f"{_name(repo)} has no revision {revision}", f"give a branch, a tag or a commit; see {_page(repo)}"


def _file(_: Exception, repo: RepoName | None) -> Said:
    return f"{_name(repo)} has no such file", f"see {_page(repo)}"


def _unauthorized(error: Exception, repo: RepoName | None) -> Said:
    if sent_token(error):
        return "the Hub does not accept your token; it is mistyped, revoked or has expired", _LOG_IN_AGAIN
    if is_write(error) or "whoami" in path_of(error):
        return "you are not logged in", LOG_IN
    return f"{_name(repo)} is private or does not exist, and you are not logged in", f"check the name, or {LOG_IN}"


def _forbidden(error: Exception, repo: RepoName | None) -> Said:
    if is_write(error):
        why = "it is read-only, or the repository belongs to somebody else"
        return f"your token may not write to {_name(repo)}; {why}", NEW_TOKEN
    return f"the Hub forbids it{server_words(error)}", "check what your token may do" if sent_token(error) else LOG_IN


def _missing(error: Exception, repo: RepoName | None) -> Said:
    if "RepositoryNotFoundError" in names_of(error) or not server_words(error):
        return f"there is no repository {_name(repo)}, or it is private to others", "check the name"
    return _answer(error, repo)


def _changed(_: Exception, __: RepoName | None) -> Said:
    return "somebody else has changed the repository meanwhile; nothing of it was changed now", "try again"


def _busy(error: Exception, _: RepoName | None) -> Said:
    seconds = retry_after(error)
    later = "try again later; who is logged in may ask more often"
    hint = f"try again in {seconds:.0f} seconds" if seconds else later
    return f"{_server(error)} answers no more requests for now (429)", hint


def _failing(error: Exception, _: RepoName | None) -> Said:
    return f"{_server(error)} answered {status_of(error)}{server_words(error)}", "try again later"


def _storage(error: Exception, _: RepoName | None) -> Said:
    return f"{_server(error)} refused the request ({status_of(error)})", "try again"


def _answer(error: Exception, _: RepoName | None) -> Said:
    return f"the Hub answered {status_of(error)}{server_words(error)}", f"see {endpoint()}"


# No answer


def _timeout(error: Exception, _: RepoName | None) -> Said:
    return f"{_at(error)} did not answer in time{_through(error)}", f"{_check(error)}, or try again later"


def _unreachable(error: Exception, _: RepoName | None) -> Said:
    return f"{_at(error)} cannot be reached{_through(error)} ({words_of(error)})", _check(error)


def _broken(error: Exception, _: RepoName | None) -> Said:
    return f"the connection to {_at(error)} broke{_through(error)} ({words_of(error)})", "try again"


def _garbled(error: Exception, _: RepoName | None) -> Said:
    hint = f"try again, or {_check(error)}"
    return f"what {endpoint()} answered is not what a Hub answers ({words_of(error)})", hint


def _other(error: Exception, _: RepoName | None) -> Said:
    """What the client itself objects to; another exception in it means that it met no Hub, or strange settings."""
    words = words_of(error)
    if type(error).__module__ != "builtins":
        return words, None
    return f"the client of the Hub fails with {endpoint()} ({type(error).__name__}: {words})", None


_SAY: dict[Kind, Callable[[Exception, RepoName | None], Said]] = {
    "offline": lambda *_: ("requests are switched off by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE"),
    "login": lambda *_: ("you are not logged in", LOG_IN),
    "token": lambda *_: ("your token holds signs that no token has", _LOG_IN_AGAIN),
    "address": lambda *_: (f"{endpoint()} is no address of a Hub", "correct HF_ENDPOINT"),
    "short": lambda *_: ("a file arrived incomplete", "try again"),
    "gated": _gated,
    "revision": _revision,
    "file": _file,
    "unauthorized": _unauthorized,
    "forbidden": _forbidden,
    "missing": _missing,
    "changed": _changed,
    "busy": _busy,
    "failing": _failing,
    "storage": _storage,
    "answer": _answer,
    "timeout": _timeout,
    "unreachable": _unreachable,
    "broken": _broken,
    "garbled": _garbled,
    "other": _other,
}


def _name(repo: RepoName | None) -> str:
    return repo.id if repo else "it"


def _page(repo: RepoName | None) -> str:
    return f"{endpoint()}/{repo.id}" if repo else endpoint()


def _server(error: Exception) -> str:
    return "the storage behind the Hub" if is_of_storage(error) else "the Hub"


def _at(error: Exception) -> str:
    return f"{_server(error)} at {shown(address_of(error)) or endpoint()}"


def _through(error: Exception) -> str:
    proxy = proxy_of(address_of(error) or endpoint())
    return f" through the proxy {proxy[1]}" if proxy else ""


def _check(error: Exception) -> str:
    settings = ["HF_ENDPOINT"] if os.environ.get("HF_ENDPOINT") else []
    if proxy := proxy_of(address_of(error) or endpoint()):
        settings.append(proxy[0])
    return " and ".join(["check the connection", *settings])
