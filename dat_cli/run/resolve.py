"""From what a person calls weights to files that hold them. Nothing here imports torch unless it meets a pickle."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from dat_cli.catalog import VARIANTS
from dat_cli.errors import HubError, WeightsError, did_you_mean
from dat_cli.hub.names import PREFIX, RepoName, parse_repo
from dat_cli.hub.pull import Pulled, pull, pull_cached
from dat_cli.run.variants import variant_weights
from dat_cli.weights import WeightsConfig, read_config
from dat_cli.weights.header import sha256_of
from dat_cli.weights.layout import is_layout

BEST = "best.safetensors"
DEFAULT = "dat_tiny"
"""The variant whose weights are used where none are named."""
WHAT_TO_GIVE = "give the folder of a run, a .safetensors or a .ckpt file, owner/name on the Hub, or one of dat models"
_FILES = (".safetensors", ".ckpt")
_FOREIGN = (".pth", ".pt", ".bin")

log = logging.getLogger("dat.weights")


@dataclass(frozen=True)
class Weights:
    """Weights that are here and say what they are.

    Attributes:
        path: The ``.safetensors`` or ``.ckpt`` file, or a folder in the layout of a Hub repository.
        config: What they say about themselves.
        name: What a person calls them: a path, ``owner/name@commit``, or the name of a variant.
        place: Where that name means something: ``here`` for a path, ``hub``, or ``authors``.
    """

    path: Path
    config: WeightsConfig
    name: str
    place: Literal["here", "hub", "authors"] = "here"

    @cached_property
    def sha256(self) -> str:
        """Of the file that holds the tensors, or of the list of several; reads all of them once."""
        return sha256_of(self.path)

    @property
    def lasting_name(self) -> str:
        """A name that means the same weights from every folder."""
        return str(self.path.resolve()) if self.place == "here" else self.name


def find_weights(reference: str, *, owner: str | None = None, fresh: bool = False) -> Weights:
    """Find the weights that ``reference`` means, without reading their tensors, and say in one line what was found.

    Args:
        reference: The folder of a run (its ``best.safetensors``, or that of its newest ``version_N`` which has one),
            a ``.safetensors`` or ``.ckpt`` file, a folder in the layout of a Hub repository,
            ``[hf-hub:]owner/name[@revision]``, or the name of a published variant. What exists here comes first.
        owner: Whose repository on the Hub a variant's name means; None for that which ``DAT_HUB_OWNER`` names, or else
            the authors' own weights.
        fresh: Ask the Hub for the newest state of a variant even if the cache has one.

    Raises:
        WeightsError: There are no such weights, or they are not what they should be; says what can be given.
        HubError: The Hub does not have them, does not give them, or cannot be reached.
    """
    weights = _find(str(reference), owner, fresh)
    where = {"here": "", "hub": " from the Hub", "authors": f" from {weights.config.origin}"}[weights.place]
    log.info("weights %s%s: %s, sha256 %s", weights.name, where, weights.config.architecture, weights.sha256)
    return weights


def refuse_unknown(reference: str) -> None:
    """Refuse what names no weights, neither here nor elsewhere, without asking anybody.

    Raises:
        WeightsError: Says what can be given.
    """
    if not reference.strip():
        raise WeightsError("the name of the weights is empty", hint=WHAT_TO_GIVE)
    if reference not in VARIANTS and not Path(reference).expanduser().exists():
        _repo(reference)


def _find(reference: str, owner: str | None, fresh: bool) -> Weights:
    refuse_unknown(reference)
    if reference.startswith(PREFIX) and (repo := parse_repo(reference)):
        return _on_hub(repo)
    path = Path(reference).expanduser()
    if path.exists() and not (reference in VARIANTS and _is_without_weights(path)):
        return _here(path)
    if reference in VARIANTS:
        return _of_variant(reference, owner, fresh)
    try:
        return _on_hub(_repo(reference))
    except HubError as error:
        raise HubError(f"{error.message}; nor is there a {reference!r} here", hint=error.hint) from None


def _repo(reference: str) -> RepoName:
    """The repository that it means where it is nothing here.

    Raises:
        WeightsError: It can be none.
    """
    looks_local = Path(reference).suffix.lower() in (*_FILES, *_FOREIGN) or reference.startswith((".", "/", "~"))
    if (not looks_local or reference.startswith(PREFIX)) and (repo := parse_repo(reference)):
        return repo
    raise WeightsError(f"there are no weights {reference!r}", hint=did_you_mean(reference, VARIANTS) or WHAT_TO_GIVE)


def _here(path: Path) -> Weights:
    if path.is_dir():
        path = path if is_layout(path) else _best_of(path)
    elif path.suffix.lower() in _FOREIGN:
        hint = f"convert it first: dat convert {path} {path.with_suffix('.safetensors').name}"
        raise WeightsError(f"{path} is a pickle of another program", hint=hint)
    elif path.suffix.lower() not in _FILES:
        raise WeightsError(f"{path} is neither a .safetensors nor a .ckpt file", hint=WHAT_TO_GIVE)
    return Weights(path, read_config(path), str(path))


def _is_without_weights(path: Path) -> bool:
    """Whether it is a folder that cannot be meant, such as that of a run which failed."""
    if not path.is_dir() or is_layout(path):
        return False
    return not any(list(path.glob(place)) for place in (BEST, f"version_*/{BEST}", "last.ckpt", "version_*/last.ckpt"))


def _of_variant(variant: str, owner: str | None, fresh: bool) -> Weights:
    name, path = variant_weights(variant, owner, fresh=fresh)
    config = read_config(path)
    if config.architecture != variant:
        raise WeightsError(f"{name} holds a {config.architecture}, not a {variant}", hint=f"if it is meant, say {name}")
    return Weights(path, config, name, "authors" if name == variant else "hub")


def _on_hub(repo: RepoName) -> Weights:
    pinned = re.fullmatch(r"[0-9a-f]{40}", repo.revision or "")
    pulled: Pulled | None = pull_cached(repo) if pinned else None
    if pulled is None:
        pulled = pull(repo)
    return Weights(pulled.folder, read_config(pulled.folder), f"{repo.id}@{pulled.commit}", "hub")


def _best_of(folder: Path) -> Path:
    if (folder / BEST).exists():
        return folder / BEST
    versions = sorted(folder.glob("version_*"), key=_number, reverse=True)
    for version in versions:
        if (version / BEST).is_file():
            return version / BEST
    for run in (folder, *versions):
        if (run / "last.ckpt").is_file():
            raise WeightsError(f"{folder} has no {BEST} yet", hint=f"give {run / 'last.ckpt'} itself")
    raise WeightsError(f"{folder} is not the folder of a run: it has no {BEST}", hint=WHAT_TO_GIVE)


def _number(version: Path) -> int:
    found = re.fullmatch(r"version_(\d+)", version.name)
    return int(found[1]) if found else -1
