"""What the test Hub keeps: repositories with every commit, and blobs as files named by their SHA-256."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# What a new repository's .gitattributes sends to LFS (shortened); all else goes there above LFS_THRESHOLD bytes.
LFS_SUFFIXES = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5", ".npz", ".npy"),
    *(".pkl", ".gz", ".zip", ".tar", ".png", ".jpg", ".gif"),
)
LFS_THRESHOLD = 10 << 20
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


class Refusal(Exception):  # noqa: N818 - to the server it is an answer like others
    """An answer that is not 200; ``code`` is what the client tells its exceptions apart by."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


@dataclass(frozen=True)
class Entry:
    """A file in a tree; ``pointer`` is the size of its LFS pointer, None of a file that git itself holds."""

    oid: str
    size: int
    sha256: str
    pointer: int | None = None

    @property
    def etag(self) -> str:
        return self.oid if self.pointer is None else self.sha256


Tree = dict[str, Entry]


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    tree: Tree
    title: str
    message: str
    author: str
    date: str


@dataclass
class Repo:
    """A repository; ``refs`` are branches and tags by their full names, ``allow`` the users who may see it."""

    id: str
    private: bool = False
    gated: bool = False
    allow: list[str] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    def history(self, commit: Commit) -> list[Commit]:
        """A commit and what came before it, the newest first."""
        listed = [commit]
        while listed[-1].parent is not None:
            listed.append(self.commits[listed[-1].parent])
        return listed

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, a tag or a commit id, maybe abbreviated."""
        names = (f"refs/heads/{revision}", f"refs/tags/{revision}", revision)
        ids = [self.refs[name] for name in names if name in self.refs]
        if not ids and re.fullmatch("[0-9a-f]{7,40}", revision):
            ids = [commit for commit in self.commits if commit.startswith(revision)]
        if not ids:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[ids[0]]


class Store:
    """All repositories of the Hub, by ``owner/name``, and their blobs below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clear()

    def clear(self) -> None:
        self.repos: dict[str, Repo] = {}
        self._salt = itertools.count()
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)

    def blob(self, sha256: str) -> Path:
        return self.root / sha256

    def add_blob(self, pieces: Iterable[bytes], expected: str | None = None) -> str:
        """Write a stream of bytes as a blob and return its SHA-256; of one that was not expected nothing stays."""
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.root) as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
            file.flush()
            sha256 = digest.hexdigest()
            if expected and sha256 != expected:
                raise Refusal(400, f"Content has sha256 {sha256}, not {expected}")
            if not self.blob(sha256).exists():
                os.link(file.name, self.blob(sha256))
        return sha256

    def small_entry(self, data: bytes) -> Entry:
        return Entry(_git_sha1("blob", data), len(data), self.add_blob([data]))

    def lfs_entry(self, sha256: str) -> Entry:
        """The entry of a blob that was uploaded before."""
        size = self.blob(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return Entry(_git_sha1("blob", pointer), size, sha256, len(pointer))

    def create(self, repo_id: str, *, private: bool = False) -> Repo:
        """A new repository, whose branch main has the first commit that the Hub itself makes."""
        repo = self.repos[repo_id] = Repo(repo_id, private)
        first = {".gitattributes": self.small_entry(GITATTRIBUTES)}
        self.commit(repo, "refs/heads/main", first, "initial commit", author=repo.owner)
        return repo

    def commit(
        self, repo: Repo, ref: str, tree: Tree, title: str, *, author: str, parent: str | None = None, message: str = ""
    ) -> Commit:
        """Record a commit with its whole tree and move ``ref`` there."""
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        content = [next(self._salt), parent, sorted(tree), title]  # the salt: equal commits must still differ
        commit_id = _git_sha1("commit", json.dumps(content).encode())
        repo.commits[commit_id] = Commit(commit_id, parent, tree, title, message, author, date)
        repo.refs[ref] = commit_id
        return repo.commits[commit_id]


def _git_sha1(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()
