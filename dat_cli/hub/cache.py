"""The client's cache on this machine: where a repository lies in it, and what its files' names prove.

The client names a cached file by its hash, and lets a folder for each commit link to it, so that a file can be
checked without asking the Hub.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dat_cli.hub.names import RepoName

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PIECE = 1 << 20


@dataclass(frozen=True)
class Digest:
    """What a file's bytes are.

    Attributes:
        size: Bytes.
        sha256: How the Hub names large files.
        git: SHA-1 as git names files, which the Hub uses for small ones.
    """

    size: int
    sha256: str
    git: str

    def is_called(self, name: str) -> bool:
        """Whether ``name``, 64 or 40 hexadecimal digits, is the name of these bytes."""
        return name == (self.sha256 if len(name) == 64 else self.git)


def digest(file: Path) -> Digest:
    """Read a file once for both hashes."""
    size = file.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            sha256.update(piece)
            git.update(piece)
    return Digest(size, sha256.hexdigest(), git.hexdigest())


def is_commit(text: object) -> bool:
    """Whether it is the full name of a commit."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def snapshot(repo: RepoName, commit: str) -> Path:
    """The folder that links to the files of one commit."""
    return _storage(repo) / "snapshots" / commit


def blob_name(file: Path) -> str | None:
    """The hash that the cache has for a file of a snapshot; None where the system has no links and it is not kept."""
    try:
        name = file.readlink().name
    except OSError:
        return None
    return name if _BLOB.fullmatch(name) else None


def forget(file: Path) -> None:
    """Remove a damaged file of a snapshot, and the bytes that it links to."""
    with suppress(OSError):  # not a link: the file is all there is
        blob = Path(os.path.normpath(file.parent / file.readlink()))
        if blob.parent.name == "blobs":
            blob.unlink()
    file.unlink(missing_ok=True)


def known_commit(repo: RepoName) -> str | None:
    """The commit that the revision was when it was last looked up, or that it names itself."""
    revision = repo.revision or "main"
    with suppress(OSError, UnicodeDecodeError):
        commit = (_storage(repo) / "refs" / revision).read_text("ascii").strip()
        if is_commit(commit):
            return commit
    if _ABBREVIATED.fullmatch(revision):
        with suppress(OSError):
            found = [folder.name for folder in snapshot(repo, "").iterdir() if folder.name.startswith(revision)]
            if len(found) == 1 and is_commit(found[0]):
                return found[0]
    return None


def remember_commit(repo: RepoName, commit: str) -> None:
    """Note which commit the revision is now, where the client notes it too."""
    note = _storage(repo) / "refs" / (repo.revision or "main")
    temporary = note.with_name(f".{note.name}.{os.getpid()}.tmp")
    with suppress(OSError):  # a cache that may only be read serves all the same
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(commit, "ascii")
        temporary.replace(note)


def _storage(repo: RepoName) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{repo.owner}--{repo.name}"
