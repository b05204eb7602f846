"""Names of repositories on the Hub, checked before anything is asked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dat_cli.errors import UsageError

PREFIX = "hf-hub:"
"""What timm writes before such a name."""

_PART = r"(?!.*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?(?<!\.git)"
_NAME = re.compile(rf"({_PART})/({_PART})", re.ASCII)
# What git refuses in the name of a branch or tag. It also keeps a revision inside the cache's folder of revisions.
_NO_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|^[-/@.]|/\.|[/.]$|\.lock(?:/|$)|[^\x00-\x7f]")
_MAX_REVISION = 250
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RepoName:
    """A repository of models on the Hub, at a revision.

    Attributes:
        owner: User or organisation.
        name: Name of the repository.
        revision: Branch, tag or commit; None for the default branch.

    Raises:
        UsageError: The Hub can have no such name, or git no such revision.
    """

    owner: str
    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.id):
            raise UsageError(f"{_shown(self.id)} is no name of a Hub repository", hint="it looks like owner/name")
        if self.revision is not None:
            _check_revision(self.revision)

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"

    @property
    def id(self) -> str:
        """``owner/name``, as the Hub wants it."""
        return f"{self.owner}/{self.name}"


def parse_repo(reference: str) -> RepoName | None:
    """Read ``owner/name[@revision]``, with or without ``hf-hub:`` before it.

    Whether there is a file or a folder of that name is for the caller to ask first.

    Returns:
        The name, or None when ``reference`` is not shaped like one.

    Raises:
        UsageError: What follows ``hf-hub:`` is no name, or the revision cannot be one.
    """
    explicit = reference.startswith(PREFIX)
    name, at, revision = reference.removeprefix(PREFIX).partition("@")
    found = _NAME.fullmatch(name)
    if not found:
        if explicit:
            raise UsageError(f"{_shown(reference)} names no Hub repository", hint=f"it looks like {PREFIX}owner/name")
        return None
    return RepoName(found[1], found[2], revision if at else None)


def is_commit(text: object) -> bool:
    """Whether it is the full name of a commit."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def _check_revision(revision: str) -> None:
    hint = "give a branch, a tag or a commit"
    if not revision:
        raise UsageError("the revision is empty", hint=hint)
    if len(revision) > _MAX_REVISION or _NO_REVISION.search(revision):
        raise UsageError(f"{_shown(revision)} cannot be a revision", hint=hint)


def _shown(text: str) -> str:
    """``text`` in quotes, as ASCII of bounded length."""
    shown = ascii(text)
    return shown if len(shown) <= 120 else f"{shown[:116]}...'"
