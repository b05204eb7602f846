"""What a repository on the Hub holds, as the Hub tells it. Its file names are a stranger's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import HubError
from dat_cli.hub.client.api import patiently
from dat_cli.hub.digest import digest
from dat_cli.hub.names import RepoName, is_commit

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LONGEST = 1_000_000
"""Bytes of a text that is read to see who wrote it."""


@dataclass(frozen=True)
class HubFile:
    """A file on the Hub.

    Attributes:
        name: Its path in the repository.
        size: Bytes.
        hash: Its SHA-256, or git's SHA-1 of a small one; ``digest`` computes both.
    """

    name: str
    size: int
    hash: str


@dataclass(frozen=True)
class Tree:
    """The files of one commit, by their names, as far as the Hub says size and hash."""

    commit: str
    files: dict[str, HubFile]
    is_private: bool


def read_tree(api: HfApi, repo: RepoName, revision: str | None, *, timeout: float | None = None) -> Tree:
    """Ask the Hub once what a revision is now and what it holds.

    Raises:
        HubError: The answer makes no sense.
        Exception: What the client raises.
    """
    info = patiently(lambda: api.model_info(repo.id, revision=revision, files_metadata=True, timeout=timeout))
    if not is_commit(info.sha):
        raise HubError(f"the Hub does not say which commit {repo} is", hint="see whether HF_ENDPOINT names a Hub")
    files = {}
    for entry in info.siblings or ():
        size, named = (entry.lfs.size, entry.lfs.sha256) if entry.lfs else (entry.size, entry.blob_id)
        said = isinstance(entry.rfilename, str) and isinstance(size, int) and isinstance(named, str)
        if said and _HASH.fullmatch(str(named)):
            files[entry.rfilename] = HubFile(entry.rfilename, int(size or 0), str(named))
    return Tree(str(info.sha), files, bool(info.private))


def read_text(api: HfApi, repo: RepoName, tree: Tree, name: str) -> str | None:
    """A small text of the repository, whole; None when it is long or no text.

    Raises:
        HubError: What arrived is not what the Hub says that it has.
    """
    there = tree.files[name]
    if there.size > _LONGEST:
        return None
    for again in (False, True):
        local = patiently(partial(api.hf_hub_download, repo.id, name, revision=tree.commit, force_download=again))
        content = Path(local).read_bytes()
        if digest(content).is_called(there.hash):
            try:
                return content.decode("utf-8")
            except UnicodeDecodeError:
                return None
    raise HubError(f"{name} of {repo} arrived damaged twice", hint="try again")
