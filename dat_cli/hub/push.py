"""Send weights to the Hub: one commit, or none."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import HubError, UsageError
from dat_cli.hub.change import Change, is_somebodys_card
from dat_cli.hub.client import hub_api, hub_errors, patiently
from dat_cli.hub.names import RepoName
from dat_cli.hub.plan import Plan
from dat_cli.hub.problems import LOG_IN, endpoint
from dat_cli.hub.refs import MAIN, read_refs
from dat_cli.hub.remote import read_tree
from dat_cli.hub.tokens import hide_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Pushed:
    """What a push has done.

    Attributes:
        commit: The commit that has the files.
        url: Its page.
        unchanged: Whether it was there before.
        kept_card: Whether somebody's README.md was left as it is.
    """

    commit: str
    url: str
    unchanged: bool
    kept_card: bool


def require_login() -> None:
    """Refuse at once, without a request, when nobody is logged in.

    Raises:
        HubError: There is no token.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise HubError("you are not logged in to the Hub", hint=LOG_IN)


def push(
    plan: Plan, *, message: str, private: bool = False, tag: str | None = None, overwrite_card: bool = False
) -> Pushed:
    """Send what the repository lacks, in one commit on top of the one that was looked at.

    Nothing is sent when the tag stands elsewhere; nothing is changed when somebody else pushes meanwhile. Pushing the
    same again makes no commit, so that after an answer that was lost a second push is safe.

    Args:
        plan: What to send, and where to. A branch that is not there begins at main.
        message: First line: title of the commit; the rest: its description.
        private: Make the repository private, if it is new.
        tag: Name for the commit.
        overwrite_card: Replace a README.md that somebody wrote.

    Raises:
        HubError: The Hub or the network refused.
        UsageError: The message or a name holds the token.
    """
    _refuse_token(message, tag or "", str(plan.repo))
    repo, branch = plan.repo, plan.repo.revision or MAIN
    with hub_errors(repo, f"push to {repo.id}"):
        require_login()
        api = hub_api()
        patiently(lambda: api.create_repo(repo.id, private=True if private else None, exist_ok=True))
        patiently(lambda: api.auth_check(repo.id, write=True))
        refs = read_refs(api, repo)
        start = refs.start_of(branch, repo)
        tree = read_tree(api, repo, start)
        if private and not tree.is_private:
            raise HubError(
                f"{repo.id} exists already and is public", hint="leave out --private, or make it private first"
            )
        change = Change.between(plan, tree, keeps_card=not overwrite_card and is_somebodys_card(api, plan, tree))
        refs.check_tag(tag, repo, start, is_empty=change.is_empty)
        if branch not in refs.branches:
            patiently(lambda: api.create_branch(repo.id, branch=branch, revision=start, exist_ok=True))
        commit = start if change.is_empty else _commit(api, repo, branch, start, change, message)
    if tag is not None and refs.tags.get(tag) != commit:
        with hub_errors(repo, f"set the tag {tag!r} on {commit}, which has been pushed"):
            _set_tag(api, repo, tag, commit)
    return Pushed(commit, f"{endpoint()}/{repo.id}/commit/{commit}", change.is_empty, change.keeps_card)


def _commit(api: HfApi, repo: RepoName, branch: str, parent: str, change: Change, message: str) -> str:
    """Make the commit, or find that it was made although its answer was lost; its parent allows it only once."""
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

    commit = patiently(attempt)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise HubError(f"the Hub answered the commit with {ascii(commit)[:60]}, which is none", hint="push again")
    return commit


def _of_card(error: ValueError) -> str:
    said = hide_token(" ".join(str(error).splitlines()[1:]))
    return f"the Hub refuses the header of README.md ({ascii(said)[1:-1][:200]})"


def _landed(api: HfApi, repo: RepoName, branch: str, parent: str, change: Change) -> str | None:
    """The commit that was made although its answer was lost; None when there is none, or nobody can tell."""
    try:
        tree = read_tree(api, repo, branch)
    except Exception:  # noqa: BLE001 - what went wrong before is what is told
        return None
    return tree.commit if tree.commit != parent and change.is_in(tree) else None


def _set_tag(api: HfApi, repo: RepoName, tag: str, commit: str) -> None:
    """Look where it stands afterwards, because a repeated request cannot tell our own tag from another's."""
    patiently(lambda: api.create_tag(repo.id, tag=tag, revision=commit, exist_ok=True))
    if read_refs(api, repo).tags.get(tag) != commit:
        raise HubError(f"{commit} was pushed to {repo.id}, but the tag {tag!r} stands elsewhere meanwhile")


def _sendable(content: Path | bytes) -> str | bytes:
    return str(content) if isinstance(content, Path) else content


def _refuse_token(*texts: str) -> None:
    if any(hide_token(text) != text for text in texts):
        raise UsageError("the message, the tag or the branch holds your token of the Hub", hint="take it out")
