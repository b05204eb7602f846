"""Which files of a repository are weights that can be pulled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dat_cli.errors import WeightsError
from dat_cli.hub.client.api import hub_api
from dat_cli.hub.names import RepoName
from dat_cli.hub.remote import HubFile, read_tree
from dat_cli.weights.layout import CARD, CONFIG, INDEX, WEIGHTS, is_weights_file, shard_names
from dat_cli.weights.problems import some

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LARGEST_TEXT = 20_000_000
"""Bytes of config.json, of the card and of the index; far more than any needs."""


@dataclass(frozen=True)
class Contents:
    """The files of one commit that weights consist of.

    Attributes:
        commit: Its full name.
        config: What the weights say about themselves.
        texts: The card, if there is one, and the index of weights in several files.
        whole: The weights in one file, or None.
        shards: The weights in several files, needed or left over.
    """

    commit: str
    config: HubFile
    texts: tuple[HubFile, ...]
    whole: HubFile | None
    shards: tuple[HubFile, ...]


def look_up(repo: RepoName) -> Contents:
    """Ask the Hub once what the revision is now and what it holds.

    Raises:
        HubError: The answer makes no sense.
        WeightsError: There are no weights in it; says what there is instead.
        Exception: What the client raises.
    """
    from huggingface_hub import constants

    tree = read_tree(hub_api(), repo, repo.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    _check_holds_weights(repo, tree.files)
    files = {name: file for name, file in tree.files.items() if name in (CONFIG, CARD) or is_weights_file(name)}
    for name in (CONFIG, CARD, INDEX):
        if name in files and files[name].size > _LARGEST_TEXT:
            raise WeightsError(f"{name} of {repo} has {files[name].size} bytes; it should be a short text")
    whole = files.get(WEIGHTS)
    texts = [files[name] for name in (CARD, *(() if whole else (INDEX,))) if name in files]
    shards = [file for name, file in files.items() if name not in (CONFIG, CARD, INDEX, WEIGHTS)]
    return Contents(tree.commit, files[CONFIG], tuple(texts), whole, tuple(shards))


def needed_shards(repo: RepoName, contents: Contents, index: Path) -> list[HubFile]:
    """Those files that the index names.

    Raises:
        WeightsError: It is damaged, or names what is not there.
    """
    try:
        names = shard_names(index)
    except WeightsError as error:
        raise WeightsError(error.message.replace(str(index), f"{INDEX} of {repo}"), hint=error.hint) from None
    if missing := sorted(set(names) - {file.name for file in contents.shards}):
        raise WeightsError(f"{INDEX} of {repo} names files that are not there: {some(missing)}")
    return [file for file in contents.shards if file.name in names]


def _check_holds_weights(repo: RepoName, names: Iterable[str]) -> None:
    names = list(names)
    if WEIGHTS not in names and INDEX not in names:
        if pickles := [name for name in names if name.lower().endswith(_PICKLES)]:
            hint = "if you trust it, download it yourself and use dat convert"
            raise WeightsError(
                f"{repo} has no {WEIGHTS}, only pickles ({some(pickles)}), which can run code", hint=hint
            )
        raise WeightsError(f"{repo} has no {WEIGHTS}", hint="see its page for what it holds")
    if CONFIG not in names:
        raise WeightsError(f"{repo} has no {CONFIG}, which says what network it is", hint="see its page")
