"""Branches and tags of a repository on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dat_cli.errors import HubError
from dat_cli.hub.client.api import patiently
from dat_cli.hub.names import RepoName

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"


@dataclass(frozen=True)
class Refs:
    """Branches and tags, and the commits they stand for."""

    branches: dict[str, str]
    tags: dict[str, str]

    def start_of(self, branch: str, repo: RepoName) -> str:
        """The commit to build on: the head of the branch, or of main for a new one."""
        if branch in self.tags and branch not in self.branches:
            raise HubError(f"{branch!r} is a tag of {repo.id}, not a branch", hint="give --revision another name")
        start = self.branches.get(branch) or self.branches.get(MAIN)
        if start is None:
            raise HubError(f"{repo.id} has neither a branch {branch!r} nor {MAIN!r}")
        return start

    def check_tag(self, tag: str | None, repo: RepoName, start: str, *, is_empty: bool) -> None:
        """A tag may be there when it stands already for what is pushed."""
        if tag is None:
            return
        if tag in self.branches:
            raise HubError(f"{tag!r} is a branch of {repo.id}", hint="give --tag another name")
        if tag in self.tags and not (is_empty and self.tags[tag] == start):
            there = self.tags[tag]
            raise HubError(
                f"{repo.id} has a tag {tag!r} already, on {there[:12]}; nothing was sent",
                hint="give --tag another name",
            )


def read_refs(api: HfApi, repo: RepoName) -> Refs:
    """What the branches and tags of a repository stand for now."""
    refs = patiently(lambda: api.list_repo_refs(repo.id))
    branches = {ref.name: ref.target_commit for ref in refs.branches}
    return Refs(branches, {ref.name: ref.target_commit for ref in refs.tags})
