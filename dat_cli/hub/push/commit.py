"""One commit on top of a known one, made once whatever happens to its answer."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import HubError
from dat_cli.hub.client.api import patiently
from dat_cli.hub.client.exceptions import plain
from dat_cli.hub.names import RepoName
from dat_cli.hub.push.change import Change
from dat_cli.hub.remote import read_tree

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_ATTEMPTS = 5
"""Each sends only the large files that have not arrived, so that they get on even where the connection is bad."""


def make_commit(api: HfApi, repo: RepoName, branch: str, parent: str, change: Change, message: str) -> str:
    """Make the commit, or find that it was made although its answer was lost; its parent allows it only once.

    Raises:
        HubError: The Hub refuses the card, or answers what is no commit.
        Exception: What the client raises.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    title, _, description = message.strip().partition("\n")

    def attempt() -> str:
        additions = [CommitOperationAdd(file.path, _sendable(file.content)) for file in change.additions]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the Hub's opinion of a card that somebody wrote, in its own words
                made = api.create_commit(
                    repo.id,
                    [*additions, *map(CommitOperationDelete, change.deletions)],
                    commit_message=title,
                    commit_description=description.strip() or None,
                    revision=branch,
                    parent_commit=parent,
                )
        except Exception as error:
            if landed := _landed(api, repo, branch, parent, change):
                return landed
            if isinstance(error, ValueError) and str(error).startswith("Invalid metadata in README.md"):
                raise HubError(_of_card(error), hint="correct the lines between --- at its top") from None
            raise
        return str(made.oid)

    commit = patiently(attempt, attempts=_ATTEMPTS)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise HubError(f"the Hub answered the commit with {ascii(commit)[:60]}, which is none", hint="push again")
    return commit


def _landed(api: HfApi, repo: RepoName, branch: str, parent: str, change: Change) -> str | None:
    """The commit that was made although its answer was lost; None when there is none, or nobody can tell.

    Somebody may have pushed on top of it since, so that it is not the head that counts but what follows ``parent``.
    """
    try:
        head = read_tree(api, repo, branch).commit
        if head == parent:
            return None
        newest_first = [commit.commit_id for commit in patiently(lambda: api.list_repo_commits(repo.id, revision=head))]
        after = newest_first[: newest_first.index(parent)]
        tree = read_tree(api, repo, after[-1])
    except Exception:  # noqa: BLE001 - what went wrong before is what is told
        return None
    return tree.commit if change.is_in(tree) else None


def _of_card(error: ValueError) -> str:
    said = "\n".join(str(error).splitlines()[1:])
    return f"the Hub refuses the header of README.md ({plain(said, 200)})"


def _sendable(content: Path | bytes) -> str | bytes:
    return str(content) if isinstance(content, Path) else content
