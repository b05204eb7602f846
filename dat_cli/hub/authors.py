"""The authors' own address of their weights: links of a Seafile server, one for each variant."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dat_cli.catalog import get_variant
from dat_cli.errors import HubError
from dat_cli.hub.client.api import is_offline, patiently
from dat_cli.hub.client.exceptions import kind_of, root_of, status_of
from dat_cli.hub.client.session import session

if TYPE_CHECKING:
    from rich.progress import Progress

MIRROR = "DAT_AUTHORS_URL"
_SERVER = "https://cloud.tsinghua.edu.cn"
_SILENCE = 30.0
"""Seconds without a byte until the download is given up."""
_PIECE = 1 << 20

log = logging.getLogger("dat.weights")


def address(variant: str) -> str:
    """Where the authors' weights of a variant are downloaded from; a mirror's, if ``DAT_AUTHORS_URL`` names one.

    Raises:
        HubError: The authors have published none, or the mirror's address cannot be one.
    """
    link = get_variant(variant).published.weights
    if link is None:
        raise HubError(f"the authors have published no weights of {variant}")
    server = os.environ.get(MIRROR) or _SERVER
    try:
        parts = urlsplit(server)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None and server.isprintable()
    except ValueError:
        valid = False
    if not valid:
        raise HubError(f"{MIRROR} is no address of a server", hint="it begins with https:// and names no user")
    return f"{server.rstrip('/')}/f/{link}/?dl=1"


def fetch(variant: str, folder: Path) -> Path:
    """Download the authors' checkpoint of a variant into a folder. No token goes there.

    Raises:
        HubError: The server is out of reach, refuses, or sends less than it announces or a web page.
        OSError: The folder cannot be written.
    """
    source, file = address(variant), folder / f"{variant}.pth"
    if is_offline():
        raise HubError(
            f"the weights of {variant} are not in the cache, and HF_HUB_OFFLINE switches requests off",
            hint="unset HF_HUB_OFFLINE",
        )
    log.info("fetching %s from %s", variant, source)
    with _in_our_words(source), _progress() as progress:
        patiently(lambda: _download(source, file, progress))
    return file


def _download(source: str, file: Path, progress: Progress | None) -> None:
    plain = {"Accept-Encoding": "identity"}  # so that the bytes are as many as announced
    with session().stream("GET", source, headers=plain, timeout=_SILENCE, follow_redirects=True) as answer:
        answer.raise_for_status()
        announced = int(answer.headers.get("Content-Length") or 0) or None
        advance = _bar(progress, file.name, announced)
        with file.open("wb") as opened:
            for piece in answer.iter_bytes(_PIECE):
                opened.write(piece)
                advance(len(piece))
        size = file.stat().st_size
        if "text/html" in answer.headers.get("Content-Type", "").lower() or _begins_as_page(file):
            raise HubError(f"{source} answers with a web page, not with the weights", hint="the link may have ended")
        if size == 0 or (announced is not None and size != announced):
            raise HubError(f"{source} sent {size} of {announced or 'unknown'} bytes", hint="try again")


def _begins_as_page(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


@contextmanager
def _in_our_words(source: str) -> Iterator[None]:
    """One line in place of whatever the HTTP library raises; what the disk raises passes."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        cause = root_of(error)
        status, kind = status_of(cause), kind_of(cause)
        if status is None and kind == "other" and (isinstance(cause, OSError) or type(cause).__module__ == "builtins"):
            raise
        said = f"it answered {status}" if status is not None else _WORDS.get(kind, type(cause).__name__)
        raise HubError(f"cannot fetch {source}: {said}", hint="check the connection, or try again later") from None


_WORDS = {
    "offline": "requests are switched off by HF_HUB_OFFLINE",
    "timeout": "it does not answer in time",
    "unreachable": "it cannot be reached",
    "broken": "the connection broke",
    "address": "that is no address",
}


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


def _bar(progress: Progress | None, name: str, total: int | None) -> Callable[[int], Any]:
    """What to call with each number of bytes that has arrived."""
    if progress is None:
        return lambda _: None
    for earlier in progress.task_ids:  # of an attempt that failed
        progress.remove_task(earlier)
    task = progress.add_task(name, total=total)
    return lambda size: progress.advance(task, size)
