"""The HTTP session of the client: while we use it, a request is made once, and what becomes of it is soon known.

The client by itself asks up to six times, with pauses that grow or that the server chooses, and says nothing. It shares
one session with all of its users; what others do with it between our calls stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from threading import Lock
from typing import Any

from dat_cli.errors import HubError
from dat_cli.hub.client.addresses import proxies
from dat_cli.hub.client.exceptions import is_passing, is_passing_status, plain

_CONNECT = 10.0
"""Seconds until there is a connection."""
_SILENCE = 30.0
"""Seconds without a byte until a request is given up; the client itself would wait for ever."""
_SILENCE_OF_READS = 10.0
"""The same where the server only has to look something up."""


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """In place of an error that may pass, its cause: the client asks again after those that it knows."""


class _Users:
    """How many of our calls are under way, in all threads; the client sends files from threads of its own."""

    count = 0
    lock = Lock()

    @classmethod
    def change(cls, by: int) -> None:
        with cls.lock:
            cls.count += by


@contextmanager
def asking_once() -> Iterator[None]:
    """Within, what ``session`` has returned makes each request once, and none without an end."""
    _Users.change(1)
    try:
        yield
    finally:
        _Users.change(-1)


def session() -> Any:
    """The session that the client uses.

    Raises:
        HubError: A proxy of the environment cannot be used.
    """
    from huggingface_hub import get_session

    try:
        current = get_session()
    except Exception as error:
        if problem := _of_proxy(error):
            raise problem from None
        raise
    vars(current).setdefault("send", _once(current.send))
    return current


def _once(send: Callable[..., Any]) -> Callable[..., Any]:
    """``send`` of a session, where every request and every redirection passes."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # public, though mypy is not told

    @wraps(send)
    def once(request: Any, **options: Any) -> Any:
        if not _Users.count:
            return send(request, **options)
        silence = _SILENCE_OF_READS if request.method in ("GET", "HEAD") else _SILENCE
        limits = {"connect": _CONNECT, "read": silence, "write": _SILENCE, "pool": _SILENCE}
        chosen = {name: limit for name, limit in request.extensions.get("timeout", {}).items() if limit is not None}
        request.extensions["timeout"] = {**limits, **chosen}
        try:
            response = send(request, **options)
            if is_passing_status(response.status_code):
                with closing(response):
                    hf_raise_for_status(response)
        except Exception as error:
            if is_passing(error):
                raise Unanswered from error
            raise
        return response

    return once


def _of_proxy(error: Exception) -> HubError | None:
    """What is wrong with the proxies of the environment, which the session reads when it is made."""
    found = proxies()
    if isinstance(error, OSError) or not found:
        return None
    socks = {name: proxy for name, proxy in found.items() if proxy.startswith("socks")}
    if isinstance(error, ImportError):
        if not socks:
            return None
        hint = "give an http:// proxy, or install the package socksio"
        return HubError(f"the proxy that {_listed(socks)} names needs a package that is missing", hint=hint)
    return HubError(f"the proxy that {_listed(found)} names cannot be used", hint="it looks like http://host:3128")


def _listed(found: dict[str, str]) -> str:
    return " and ".join(f"{name} ({plain(proxy, 60)})" for name, proxy in found.items())
