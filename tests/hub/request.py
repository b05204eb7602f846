"""A request to the test Hub, its answer, and who may do what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub.store import Refusal, Repo, Store


@dataclass(frozen=True)
class User:
    name: str
    role: str = "write"


@dataclass(frozen=True)
class Request:
    """One request; ``body`` can be read once. ``origin`` is the Hub's own address, ``cdn`` that of LFS files."""

    store: Store
    user: User | None
    method: str
    query: str
    range: str
    origin: str
    cdn: str
    body: Callable[[], Iterator[bytes]]

    def json(self) -> Any:
        return json.loads(b"".join(self.body()) or b"{}")


@dataclass(frozen=True)
class Part:
    """Bytes of a file, from ``start`` up to ``stop``."""

    path: Path
    start: int
    stop: int


@dataclass(frozen=True)
class Answer:
    """``body`` is bytes, a part of a file, or what becomes JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def find_repo(ask: Request, repo_id: str, *, write: bool = False, files: bool = False) -> Repo:
    """The repository, if this user may see it, write to it (``write``), or read its files (``files``)."""
    repo = ask.store.repos.get(repo_id)
    known = repo is not None and ask.user is not None and ask.user.name in (repo.owner, *repo.allow)
    if repo is None or (repo.private and not known):
        if ask.user:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        raise Refusal(401, "Invalid username or password.", "RepoNotFound")
    if files and repo.gated and not known:
        raise Refusal(403 if ask.user else 401, f"Access to model {repo_id} is restricted.", "GatedRepo")
    if write:
        require_writer(ask.user, repo.owner)
    return repo


def require_writer(user: User | None, owner: str) -> None:
    if not user:
        raise Refusal(401, "Invalid username or password.")
    if user.role != "write" or user.name != owner:
        raise Refusal(403, f"You don't have the rights to write to a repository of {owner}")
