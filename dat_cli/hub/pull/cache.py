"""The client's cache on this machine: where a repository lies in it, and what its files' names prove.

The client names a cached file by its hash, and lets a folder for each commit link to it, so that a file can be
checked without asking the Hub.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from dat_cli.hub.names import RepoName, is_commit

_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def snapshot(repo: RepoName, commit: str) -> Path:
    """The folder that links to the files of one commit."""
    return _storage(repo) / "snapshots" / commit


def blob_path(repo: RepoName, name: str) -> Path:
    """Where the bytes of that hash lie, or would lie."""
    return _storage(repo) / "blobs" / name


def lock_path(repo: RepoName, name: str) -> Path:
    """Where the client keeps locks too; the folder exists."""
    folder = _storage(repo).parent / ".locks" / _storage(repo).name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


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
