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
from dat_cli.hub.exceptions import kind_of, retry_after, root_of, status_of
from dat_cli.hub.names import RepoName
from dat_cli.hub.problems import translate
from dat_cli.hub.tokens import hide_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["gave_no_answer", "hide_token", "hub_api", "hub_errors", "is_offline", "named_bar", "patiently", "status_of"]

T = TypeVar("T")

_SILENCE = 60.0
"""Seconds without a byte until a request is given up; the client itself would wait for ever."""
_LONGEST_WAIT = 60.0
"""Seconds; who asks to wait longer than this is not asked again."""


def hub_api() -> HfApi:
    """The client, for the Hub that ``HF_ENDPOINT`` names.

    It reports progress on a terminal only, and does not log: what matters is raised, and comes out in our words.
    """
    from huggingface_hub import HfApi, constants, get_session
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not _is_terminal():
        disable_progress_bars()
    get_session().timeout = _SILENCE
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
    """Raise whatever the client or the network raise as one line of ours.

    Errors of the disk pass through, as do our own. Nothing of the old exception is shown, not even in a traceback:
    its requests hold the token.

    Args:
        repo: The repository that it is about.
        doing: What is tried, in words that can follow "cannot": ``pull owner/name``.

    Raises:
        HubError: In place of every exception about the Hub.
    """
    try:
        yield
    except DatError:
        raise
    except Exception as error:
        problem = translate(error, repo, doing)
        if problem is None:
            raise
        raise problem from None


def patiently(call: Callable[[], T], *, attempts: int = 3, pause: float = 0.5) -> T:
    """Ask again when the connection broke, or the Hub answered 408, 429 or 5xx. Only for what may be asked twice.

    Args:
        call: The request.
        attempts: How often it is made at most.
        pause: Seconds before the second attempt, twice as many before each further one. A ``Retry-After`` is kept.
    """
    for attempt in range(attempts - 1):
        try:
            return call()
        except Exception as error:  # noqa: PERF203 - each round waits for a server
            wait = retry_after(error)
            if not _is_passing(error) or (wait or 0) > _LONGEST_WAIT:
                raise
            time.sleep(pause * 2**attempt if wait is None else wait)
    return call()


def gave_no_answer(error: Exception) -> bool:
    """Whether the Hub was not reached, or only said that it cannot work now (5xx); a refusal is an answer."""
    error = root_of(error)
    status = status_of(error)
    return status >= 500 if status is not None else kind_of(error) in ("unreachable", "broken", "timeout")


def _is_passing(error: Exception) -> bool:
    status = status_of(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return kind_of(error) in ("unreachable", "broken", "timeout", "short", "garbled")


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
