"""What a repository lacks of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dat_cli.hub.card import is_generated
from dat_cli.hub.push.plan import Plan, PlannedFile
from dat_cli.hub.remote import Tree, read_text
from dat_cli.weights.layout import CARD, is_weights_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Change:
    """What differs between a plan and the repository.

    Attributes:
        additions: Files that are not there, or of other bytes.
        deletions: Paths of weights that are not planned.
        keeps_card: Whether the README.md that is there stays.
    """

    additions: tuple[PlannedFile, ...]
    deletions: tuple[str, ...]
    keeps_card: bool

    @classmethod
    def between(cls, plan: Plan, tree: Tree, *, keeps_card: bool) -> Change:
        """Weights of another layout are taken away: a reader could not tell which are meant."""
        planned = [file for file in plan.files if not (keeps_card and file.path == CARD)]
        additions = tuple(file for file in planned if not _has(tree, file))
        names = {file.path for file in planned}
        deletions = tuple(name for name in tree.files if is_weights_file(name) and name not in names)
        return cls(additions, deletions, keeps_card)

    @property
    def is_empty(self) -> bool:
        """Whether the repository has all of it."""
        return not self.additions and not self.deletions

    def is_in(self, tree: Tree) -> bool:
        """Whether somebody has made it already."""
        added = all(_has(tree, file) for file in self.additions)
        return added and not any(name in tree.files for name in self.deletions)


def is_somebodys_card(api: HfApi, plan: Plan, tree: Tree) -> bool:
    """Whether the repository has a README.md that a person wrote or edited, and that differs from the planned one."""
    there = tree.files.get(CARD)
    if there is None or any(file.path == CARD and file.digest.is_called(there.hash) for file in plan.files):
        return False
    text = read_text(api, plan.repo, tree, CARD)
    return text is None or not is_generated(text)


def _has(tree: Tree, file: PlannedFile) -> bool:
    there = tree.files.get(file.path)
    return there is not None and file.digest.is_called(there.hash)
