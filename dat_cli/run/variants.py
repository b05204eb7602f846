"""Weights of a published variant by its name alone: from the cache, from the Hub, or from the authors."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from dat_cli.catalog import get_variant
from dat_cli.errors import HubError, UsageError
from dat_cli.hub.names import RepoName, parse_repo
from dat_cli.hub.pull import pull, pull_cached
from dat_cli.run.published import cached_published, published_weights

OWNER = "DAT_HUB_OWNER"

log = logging.getLogger("dat.weights")


def variant_weights(variant: str, owner: str | None = None, *, fresh: bool = False) -> tuple[str, Path]:
    """Find the weights of a variant, or fetch them.

    With an owner: that one's repository of the variant's name, from the cache before the Hub. Without one, or when the
    Hub does not have it: the authors' weights, from the cache before their own address.

    Args:
        variant: Its name.
        owner: Of the repository on the Hub; None for that which ``DAT_HUB_OWNER`` names.
        fresh: Ask the Hub even if the cache has a copy, which may be old.

    Returns:
        What to call them, and the file or folder that holds them.

    Raises:
        HubError: They are nowhere to be had; names the ways on.
        UsageError: The owner is not a name that the Hub could have.
    """
    tried = []
    if repo := _repository(variant, owner):
        try:
            pulled = (None if fresh else pull_cached(repo)) or pull(repo)
        except HubError as error:
            tried.append(error.message)
        else:
            return f"{repo.id}@{pulled.commit}", pulled.folder
    if path := cached_published(variant):
        _warn(tried)
        return variant, path
    if get_variant(variant).published.weights is None:
        tried.append(f"its authors published no weights of {variant}")
    else:
        try:
            path = published_weights(variant)
        except HubError as error:
            tried.append(error.message)
        else:
            _warn(tried)
            return variant, path
    raise HubError(
        f"no weights of {variant} within reach: {'; '.join(tried)}",
        hint="give a file or a run (--weights PATH), or a repository that has them (--weights OWNER/NAME, or --owner "
        f"OWNER for OWNER/{variant}), or download the authors' file elsewhere and convert it (dat convert FILE OUT)",
    )


def _repository(variant: str, owner: str | None) -> RepoName | None:
    given = os.environ.get(OWNER) if owner is None else owner
    if not given:
        return None
    repo = parse_repo(f"{given}/{variant}")
    if repo is None or repo.id != f"{given}/{variant}":
        source = OWNER if owner is None else "--owner"
        raise UsageError(f"{source} {given!r} is no name that the Hub could have", hint="give a user or organisation")
    return repo


def _warn(tried: list[str]) -> None:
    for reason in tried:
        log.warning("%s; taking the authors' weights", reason)
