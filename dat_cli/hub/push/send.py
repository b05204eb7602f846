"""Send weights to the Hub: one commit, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dat_cli.errors import HubError, UsageError
from dat_cli.hub.client.addresses import endpoint
from dat_cli.hub.client.api import hub_api, hub_errors, patiently
from dat_cli.hub.names import RepoName
from dat_cli.hub.push.access import open_repository, require_login
from dat_cli.hub.push.change import Change, is_somebodys_card
from dat_cli.hub.push.commit import make_commit
from dat_cli.hub.push.plan import Plan
from dat_cli.hub.push.refs import MAIN, read_refs
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
        open_repository(api, repo, private=private)
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
            _make_branch(api, repo, branch, start)
        commit = start if change.is_empty else make_commit(api, repo, branch, start, change, message)
    if tag is not None and refs.tags.get(tag) != commit:
        with hub_errors(repo, f"set the tag {tag!r} on {commit}, which has been pushed"):
            _set_tag(api, repo, tag, commit)
    return Pushed(commit, f"{endpoint()}/{repo.id}/commit/{commit}", change.is_empty, change.keeps_card)


def _make_branch(api: HfApi, repo: RepoName, branch: str, start: str) -> None:
    patiently(lambda: api.create_branch(repo.id, branch=branch, revision=start, exist_ok=True))
    if branch not in read_refs(api, repo).branches:
        raise HubError(f"the Hub says that {repo.id} has a new branch {branch!r}, but it has none", hint="push again")


def _set_tag(api: HfApi, repo: RepoName, tag: str, commit: str) -> None:
    """Look where it stands afterwards, because a repeated request cannot tell our own tag from another's."""
    patiently(lambda: api.create_tag(repo.id, tag=tag, revision=commit, exist_ok=True))
    there = read_refs(api, repo).tags.get(tag)
    done = f"{commit} was pushed to {repo.id}"
    if there is None:
        raise HubError(f"{done}, but it has no tag {tag!r}, though the Hub says that it was set", hint="push again")
    if there != commit:
        raise HubError(f"{done}, but meanwhile somebody has set the tag {tag!r} on {there[:12]}")


def _refuse_token(*texts: str) -> None:
    if any(hide_token(text) != text for text in texts):
        raise UsageError("the message, the tag or the branch holds your token of the Hub", hint="take it out")
