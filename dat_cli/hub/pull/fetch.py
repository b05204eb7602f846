"""Take weights from the Hub: only the files that are needed, of one commit, each checked against its hash."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dat_cli.errors import HubError, WeightsError
from dat_cli.hub.client.api import gave_no_answer, hub_api, hub_errors, is_offline, named_bar, patiently
from dat_cli.hub.digest import Digest, digest
from dat_cli.hub.names import RepoName
from dat_cli.hub.pull.cache import blob_name, forget, known_commit, remember_commit, snapshot
from dat_cli.hub.pull.lookup import Contents, look_up, needed_shards
from dat_cli.hub.pull.resume import bring
from dat_cli.hub.remote import HubFile
from dat_cli.weights.files import read_header
from dat_cli.weights.layout import CARD, CONFIG, INDEX, is_layout, read_layout_config, weights_files

_LOG = logging.getLogger("dat.pull")


@dataclass(frozen=True)
class PulledFile:
    """A file that has arrived, and is what the Hub says it is."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Pulled:
    """Weights of the Hub on this machine.

    Attributes:
        repo: What was asked for.
        commit: What it is now, in 40 hexadecimal digits.
        folder: The files in the client's cache, in Hub layout.
        files: Those of them that belong to the weights.
        offline: Whether they were taken from the cache without asking the Hub.
    """

    repo: RepoName
    commit: str
    folder: Path
    files: tuple[PulledFile, ...]
    offline: bool


def pull(repo: RepoName) -> Pulled:
    """Bring the weights of a repository to this machine, or find them there.

    config.json comes first and is checked before anything large. A file of the cache that is not what it should be is
    fetched again. When the Hub cannot be reached, what was pulled before serves; a refusal is an error all the same.

    Raises:
        HubError: The Hub refuses, or cannot be reached and the cache has nothing; a file arrives damaged, twice.
        WeightsError: The repository holds no weights of ours, or says of them what cannot be.
        OSError: The cache cannot be written.
    """
    with hub_errors(repo, f"pull {repo}"):
        if is_offline():
            return _offline(repo)
        try:
            contents = look_up(repo)
        except Exception as error:
            if not gave_no_answer(error) or (cached := pull_cached(repo)) is None:
                raise
            _LOG.warning("the Hub gives no answer; using the copy of %s at %s in the cache", repo.id, cached.commit)
            return cached
        files = _fetch_all(repo, contents)
    remember_commit(repo, contents.commit)
    return Pulled(repo, contents.commit, snapshot(repo, contents.commit), files, offline=False)


def pull_cached(repo: RepoName) -> Pulled | None:
    """What an earlier pull has brought, without any request; None when that is nothing, or not all of it is sound."""
    commit = known_commit(repo)
    if commit is None or not is_layout(folder := snapshot(repo, commit)):
        return None
    try:
        names = [name for name in (CONFIG, CARD, INDEX) if (folder / name).is_file()]
        files = [_checked_in_cache(repo, folder / name) for name in names]  # before the index is trusted
        files += [_checked_in_cache(repo, file) for file in weights_files(folder)]
    except WeightsError as error:  # damaged, or a part was never pulled
        _LOG.debug("%s", error)
        return None
    return Pulled(repo, commit, folder, tuple(files), offline=True)


def _offline(repo: RepoName) -> Pulled:
    cached = pull_cached(repo)
    if cached is None:
        hint = f"unset HF_HUB_OFFLINE and run dat pull {repo} once"
        raise HubError(f"{repo} is not whole in the cache, and HF_HUB_OFFLINE switches requests off", hint=hint)
    _LOG.info("offline: using the copy of %s at %s in the cache", repo.id, cached.commit)
    return cached


def _fetch_all(repo: RepoName, contents: Contents) -> tuple[PulledFile, ...]:
    folder = snapshot(repo, contents.commit)
    files = _fetch(repo, contents, [contents.config])
    try:
        read_layout_config(folder)
    except WeightsError as error:
        message = error.message.replace(str(folder), str(repo.id))
        raise WeightsError(message, hint=error.hint) from None
    files += _fetch(repo, contents, contents.texts)
    weights = [contents.whole] if contents.whole else needed_shards(repo, contents, folder / INDEX)
    files += _fetch(repo, contents, weights)
    try:
        for file in weights:
            read_header(folder / file.name)  # the Hub's hash says that it arrived, not that it is what its name says
    except WeightsError as error:
        message = error.message.replace(f"{folder}/", f"{repo.id}/")
        raise WeightsError(message, hint=f"tell the owner of {repo.id}") from None
    return tuple(files)


def _fetch(repo: RepoName, contents: Contents, files: Sequence[HubFile]) -> list[PulledFile]:
    """Fetch files one after the other, each of them a second time if it is not what the Hub says it is."""
    return [_fetch_one(repo, contents.commit, file) for file in files]


def _fetch_one(repo: RepoName, commit: str, file: HubFile) -> PulledFile:
    path = _download(repo, commit, file)
    if not (found := digest(path)).is_called(file.hash):
        _LOG.warning("%s of %s is damaged; fetching it again", file.name, repo)
        forget(path)
        path = _download(repo, commit, file)
        if not (found := digest(path)).is_called(file.hash):
            forget(path)
            raise _damaged(repo, file, found)
    return PulledFile(file.name, found.size, found.sha256)


def _download(repo: RepoName, commit: str, file: HubFile) -> Path:
    bar = named_bar(file.name)
    bring(repo, commit, file, bar=bar)
    return Path(patiently(lambda: hub_api().hf_hub_download(repo.id, file.name, revision=commit, tqdm_class=bar)))


def _checked_in_cache(repo: RepoName, file: Path) -> PulledFile:
    found, name = digest(file), blob_name(file)
    if name is not None and not found.is_called(name):
        _LOG.warning("%s of %s is damaged in the cache", file.name, repo)
        raise WeightsError(f"{file} is damaged")
    return PulledFile(file.name, found.size, found.sha256)


def _damaged(repo: RepoName, file: HubFile, found: Digest) -> HubError:
    kind, has = ("sha256", found.sha256) if len(file.hash) == 64 else ("git's sha1", found.git)
    message = (
        f"{file.name} of {repo} arrived damaged twice: its {kind} is {has[:12]}... in place of {file.hash[:12]}..."
    )
    return HubError(message, hint="try again, from another network if it stays so")
