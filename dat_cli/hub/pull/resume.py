"""Large files: a download that was cut short goes on where it ended, in a later process too.

The client itself goes on within one call only, and throws away what a call that failed has brought.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dat_cli.hub.client.api import hub_api, patiently
from dat_cli.hub.names import RepoName
from dat_cli.hub.pull.cache import blob_path, lock_path
from dat_cli.hub.remote import HubFile

_SHA256_DIGITS = 64


def bring(repo: RepoName, commit: str, file: HubFile, *, bar: type[Any]) -> None:
    """Bring the bytes of a large file into the cache, where the client will find and link them.

    What has arrived stays in the cache when the network, the process or the machine fails. Whether what is whole is
    also what the Hub says it is, is for the caller to see.

    Args:
        repo: The repository.
        commit: Full name of the commit.
        file: What the Hub says of the file; nothing is done for a small one, which has no SHA-256 there.
        bar: Class of the progress bar.

    Raises:
        Exception: What the client raises.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # public, though mypy is not told

    blob = blob_path(repo, file.hash)
    if len(file.hash) != _SHA256_DIGITS or blob.exists():
        return
    partial = blob.with_name(f"{file.hash}.dat.incomplete")  # a name that the client's own tools clean up
    blob.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock_path(repo, partial.name)):  # another process may be fetching the same
        if not blob.exists():
            if partial.is_symlink():  # whoever made it, what it leads to is not ours to write
                partial.unlink()
            patiently(lambda: _go_on(repo, commit, file, partial, bar))
            partial.replace(blob)


def _go_on(repo: RepoName, commit: str, file: HubFile, partial: Path, bar: type[Any]) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, though mypy is not told

    endpoint = hub_api().endpoint
    with partial.open("ab") as opened:
        if opened.tell() > file.size:
            opened.seek(0)
            opened.truncate()
        http_get(
            hf_hub_url(repo.id, file.name, revision=commit, endpoint=endpoint),
            opened,
            resume_size=opened.tell(),
            headers=build_hf_headers(library_name="dat-cli"),
            expected_size=file.size,
            displayed_filename=file.name,
            tqdm_class=bar,
        )
