"""What a repository on the Hub holds, as far as a push has to know it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import HubError
from dat_cli.hub.client import patiently
from dat_cli.hub.names import RepoName
from dat_cli.hub.plan import PlannedFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
_LONGEST = 1_000_000
"""Bytes of a text that is read to see who wrote it."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository: its bytes, and the hash by which the Hub knows it."""

    size: int | None
    git_sha1: str | None
    sha256: str | None

    def is_same(self, planned: PlannedFile) -> bool:
        """Whether it has the same bytes."""
        if self.sha256 is not None:
            return self.sha256 == planned.sha256
        return self.git_sha1 == planned.git_sha1


@dataclass(frozen=True)
class Tree:
    """The files of one commit."""

    commit: str
    files: dict[str, RemoteFile]
    is_private: bool


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


def read_tree(api: HfApi, repo: RepoName, revision: str) -> Tree:
    """The files at a branch or commit, with their hashes."""
    info = patiently(lambda: api.model_info(repo.id, revision=revision, files_metadata=True))
    files = {
        file.rfilename: RemoteFile(file.size, file.blob_id, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or ()
    }
    if info.sha is None:
        raise HubError(f"the Hub does not say which commit {revision!r} of {repo.id} is")
    return Tree(info.sha, files, bool(info.private))


def read_text(api: HfApi, repo: RepoName, tree: Tree, path: str) -> str | None:
    """A small text of the repository, whole; None when it is long or no text.

    Raises:
        HubError: What arrived is not what the Hub says that it has.
    """
    there = tree.files[path]
    if there.size is None or there.size > _LONGEST:
        return None
    for again in (False, True):
        local = patiently(partial(api.hf_hub_download, repo.id, path, revision=tree.commit, force_download=again))
        content = Path(local).read_bytes()
        if there.is_same(PlannedFile(path, content)):
            try:
                return content.decode("utf-8")
            except UnicodeDecodeError:
                return None
    raise HubError(f"{path} of {repo.id} arrived damaged twice", hint="try again")
