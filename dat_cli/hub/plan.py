"""What a push sends: decided, written and shown before anything is sent."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import UsageError
from dat_cli.hub.card import is_generated, render_card
from dat_cli.hub.names import RepoName
from dat_cli.hub.private import for_others
from dat_cli.hub.tokens import hide_token
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.layout import CARD, is_layout, is_weights_file, write_layout

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = "pictures"
_PICTURE_SUFFIXES = (".png", ".svg", ".jpg", ".jpeg")
_LONGEST_CARD = 1_000_000
"""Bytes; the Hub's pages show no longer ones."""


@dataclass(frozen=True)
class PlannedFile:
    """One file of a push.

    Attributes:
        path: Where it will stand in the repository.
        content: The file on the disk, or its bytes.
        size: Bytes.
        sha256: Of its bytes, by which the Hub knows large files.
        git_sha1: Of its bytes as a blob of git, by which the Hub knows small ones.
    """

    path: str
    content: Path | bytes
    size: int
    sha256: str
    git_sha1: str


@dataclass(frozen=True)
class Plan:
    """All that a push sends.

    Attributes:
        repo: Where to; its revision is the branch.
        config: What the weights will say about themselves.
        files: The card, config.json, weights and pictures.
        card: Text of the card.
        card_is_generated: Whether we wrote it; else somebody did, in the folder of the weights.
    """

    repo: RepoName
    config: WeightsConfig
    files: tuple[PlannedFile, ...]
    card: str
    card_is_generated: bool


@contextmanager
def plan_push(
    tensors: Mapping[str, Tensor],
    config: WeightsConfig,
    repo: RepoName,
    *,
    folder: Path,
    parameters: int,
    dataset: str | None = None,
) -> Iterator[Plan]:
    """Write the files of a push into a temporary folder, which is there for as long as the context is.

    Args:
        tensors: Those of the network, and nothing else: no state of an optimizer.
        config: What the weights say about themselves. Folders in it stay here: of a path only the last part is sent.
        repo: Where to; its revision is the branch.
        folder: Where the weights lie. Its ``pictures/`` are sent too, and, where it has the layout of a repository, a
            README.md that somebody wrote.
        parameters: Number of the network's parameters.
        dataset: Identifier of the training data on the Hub.

    Raises:
        UsageError: A text that would be sent holds the token, or the README.md is no text.
    """
    config = for_others(config)
    with tempfile.TemporaryDirectory(prefix="dat-push-") as temporary:
        written = {path.name: path for path in write_layout(Path(temporary), tensors, config)}
        pictures = {f"{PICTURES}/{path.name}": path for path in _pictures(folder / PICTURES)}
        card = _card_of(folder)
        is_generated_here = card is None
        if card is None:
            card = render_card(config, repo, dataset=dataset, pictures=sorted(pictures), parameters=parameters)
        contents: dict[str, Path | bytes] = {CARD: card.encode(), **written, **pictures}
        files = tuple(_planned(path, content) for path, content in contents.items())
        for file in files:
            _refuse_token(file)
        yield Plan(repo, config, files, card, is_generated_here)


def git_sha1(content: bytes) -> str:
    """The name that git gives to a file of these bytes."""
    return _hashes(content)[2]


def _pictures(folder: Path) -> list[Path]:
    """Ordinary files alone: a link may lead anywhere."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in _PICTURE_SUFFIXES]
    return sorted(path for path in found if path.is_file() and not path.is_symlink() and _is_ordinary(path.name))


def _is_ordinary(name: str) -> bool:
    return name.isprintable() and not name.startswith(".") and "\\" not in name


def _card_of(folder: Path) -> str | None:
    """The README.md that somebody wrote; None when there is none, or only one of ours."""
    path = folder / CARD
    if not is_layout(folder) or not path.is_file():
        return None
    if path.stat().st_size > _LONGEST_CARD:
        raise UsageError(f"{path} has {path.stat().st_size} bytes; a card may have {_LONGEST_CARD}")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", hint="save it as UTF-8, or remove it") from None
    return None if is_generated(text) else text


def _planned(path: str, content: Path | bytes) -> PlannedFile:
    size, sha256, sha1 = _hashes(content)
    return PlannedFile(path, content, size, sha256, sha1)


def _hashes(content: Path | bytes) -> tuple[int, str, str]:
    """Size, SHA-256, and the name that git gives to a file."""
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    for piece in _pieces(content):
        sha256.update(piece)
        sha1.update(piece)
    return size, sha256.hexdigest(), sha1.hexdigest()


def _pieces(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as opened:
        while piece := opened.read(1 << 20):
            yield piece


def _refuse_token(file: PlannedFile) -> None:
    """Weights need no search: all that a person put into them stands in config.json too."""
    if is_weights_file(file.path) and file.path.endswith(".safetensors"):
        return
    text = b"".join(_pieces(file.content)).decode("latin-1")  # every byte stays what it is
    if hide_token(text) != text:
        raise UsageError(f"{file.path} would hold your token of the Hub", hint="take it out; nothing was sent")
