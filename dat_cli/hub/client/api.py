"""The client of the Hub as we use it: quiet, patient, and with errors in our words."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from dat_cli import __version__
from dat_cli.errors import DatError
from dat_cli.hub.client.addresses import check_endpoint
from dat_cli.hub.client.exceptions import Kind, is_passing, kind_of, retry_after, root_of, status_of
from dat_cli.hub.client.problems import translate
from dat_cli.hub.client.session import asking_once, session
from dat_cli.hub.names import RepoName

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

_LONGEST_WAIT = 60.0
"""Seconds; who asks to wait longer than this is not asked again."""
_NO_STATUS: dict[Kind, str] = {
    "broken": "the connection broke",
    "garbled": "the answer makes no sense",
    "short": "a file arrived incomplete",
}
_LOG = logging.getLogger("dat.hub")


def hub_api() -> HfApi:
    """The client, for the Hub that ``HF_ENDPOINT`` names.

    It reports progress on a terminal only, and does not log: what matters is raised, and comes out in our words.

    Raises:
        HubError: That can be no address of a Hub, or a proxy that is set cannot be used.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not _is_terminal():
        disable_progress_bars()
    check_endpoint()
    session()
    return HfApi(endpoint=constants.ENDPOINT, library_name="dat-cli", library_version=__version__)


def named_bar(name: str) -> type[Any]:
    """The client's progress bar with the name of a file; its own would show a part of an address.

    A class of the client's own kind, because that is what decides whether there is a terminal to draw on.
    """
    from huggingface_hub.utils.tqdm import tqdm

    class Named(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "desc": name, "leave": False})  # type: ignore[no-untyped-call] # tqdm's

    return Named


def is_offline() -> bool:
    """Whether requests are switched off, by ``HF_HUB_OFFLINE=1``."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


@contextmanager
def hub_errors(repo: RepoName | None, doing: str) -> Iterator[None]:
    """Raise whatever the client or the network raise as one line of ours, and let the client ask once only.

    Errors of this machine pass through, as do our own. Of an exception that has met the network nothing is shown, not
    even in a traceback: its requests hold the token.

    Args:
        repo: The repository that it is about.
        doing: What is tried, in words that can follow "cannot": ``pull owner/name``.

    Raises:
        HubError: In place of every exception about the Hub.
    """
    try:
        with asking_once():
            yield
    except DatError:
        raise
    except Exception as error:
        problem = translate(error, repo, doing)
        if problem is None:
            raise
        raise problem from (error if _may_be_a_bug(error) else None)


def patiently(call: Callable[[], T], *, attempts: int = 3, pause: float = 0.5) -> T:
    """Ask again when what went wrong may pass, and say so. Only for what may be asked twice.

    After silence, which is long already, it is asked once more only.

    Args:
        call: The request.
        attempts: How often it is made at most.
        pause: Seconds before the second attempt, twice as many before each further one. A ``Retry-After`` is kept.
    """
    for attempt in range(attempts - 1):
        try:
            return call()
        except Exception as raised:  # noqa: PERF203 - each round waits for a server
            error = root_of(raised)
            kind, wait = kind_of(error), retry_after(error)
            if not is_passing(error) or (kind == "timeout" and attempt > 0) or (wait or 0) > _LONGEST_WAIT:
                raise
            if kind != "unreachable":  # which is known at once, and told soon
                _LOG.info("%s", _why_again(error, wait))
            time.sleep(pause * 2**attempt if wait is None else wait)
    return call()


def gave_no_answer(error: Exception) -> bool:
    """Whether the Hub was not reached, or only said that it cannot work now (5xx); a refusal is an answer."""
    return kind_of(root_of(error)) in ("unreachable", "broken", "timeout", "failing")


def _why_again(error: Exception, wait: float | None) -> str:
    status = status_of(error)
    if wait is not None:
        return f"the server answered {status} and asks to wait {wait:.0f} seconds; trying again then"
    if status is not None:
        return f"the server answered {status}; trying again"
    return f"{_NO_STATUS.get(kind_of(error), 'no answer')}; trying again"


def _may_be_a_bug(error: Exception) -> bool:
    """Whether it is one that any code raises: a mistake, of the client's or ours, which only a traceback can tell."""
    root = root_of(error)
    return type(root).__module__ == "builtins" and kind_of(root) == "other"


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
