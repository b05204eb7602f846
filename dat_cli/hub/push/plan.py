"""What a push sends: decided, written and shown before anything is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import UsageError
from dat_cli.hub.card import is_generated, render_card
from dat_cli.hub.digest import Digest, digest, pieces
from dat_cli.hub.names import RepoName
from dat_cli.hub.push.private import for_others
from dat_cli.hub.tokens import hide_token
from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.layout import CARD, is_layout, is_weights_file, write_layout

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = "pictures"
_PICTURE_SUFFIXES = (".png", ".svg", ".jpg", ".jpeg")
_LONGEST_CARD = 1_000_000
"""Bytes; what is longer is something else that was given this name."""


@dataclass(frozen=True)
class PlannedFile:
    """One file of a push.

    Attributes:
        path: Where it will stand in the repository.
        content: The file on the disk, or its bytes.
    """

    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    @cached_property
    def digest(self) -> Digest:
        """Read when it is asked for, which is after the Hub has let us in."""
        return digest(self.content)


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
        files = tuple(PlannedFile(path, content) for path, content in contents.items())
        for file in files:
            _refuse_token(file)
        yield Plan(repo, config, files, card, is_generated_here)


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


def _refuse_token(file: PlannedFile) -> None:
    """Weights need no search: all that a person put into them stands in config.json too."""
    if is_weights_file(file.path) and file.path.endswith(".safetensors"):
        return
    text = b"".join(pieces(file.content)).decode("latin-1")  # every byte stays what it is
    if hide_token(text) != text:
        raise UsageError(f"{file.path} would hold your token of the Hub", hint="take it out; nothing was sent")
