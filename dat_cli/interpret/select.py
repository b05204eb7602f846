"""What of an explanation is meant: which blocks, which heads and groups, which queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError
from dat_cli.interpret.explanation import AttentionBlock, DeformableBlock, Explanation

_QUERIES = 3  # that are looked at where none is given, in one block; one on a sheet of several


@dataclass(frozen=True)
class Choice:
    """What a person asked for, of any network and image; blocks, heads and groups are counted from 1.

    Attributes:
        blocks: Names such as ``3.2``; none for all deformable ones.
        head: One head, ``all`` of them each by itself, or None for their mean.
        group: One group; None for all.
        queries: (x, y) in pixels of the image; none for the most salient places.
    """

    blocks: tuple[str, ...] = ()
    head: int | Literal["all"] | None = None
    group: int | None = None
    queries: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Selection:
    """The same, of one explanation; heads and groups are counted from 0.

    Attributes:
        blocks: The blocks, in order.
        head: One head, ``all``, or None for the mean.
        group: One group; None for all.
        queries: (x, y) in pixels of the image, at least one.
        compared: The block whose receptive field is compared with that of other networks.
    """

    blocks: tuple[AttentionBlock, ...]
    head: int | Literal["all"] | None
    group: int | None
    queries: tuple[tuple[float, float], ...]
    compared: DeformableBlock

    @property
    def deformable(self) -> tuple[DeformableBlock, ...]:
        """Those of the blocks that have sampling points."""
        return tuple(block for block in self.blocks if isinstance(block, DeformableBlock))


def select(explanation: Explanation, choice: Choice) -> Selection:
    """Find what is meant.

    Raises:
        UsageError: There is no such block, head or group.
    """
    blocks = _blocks(explanation, choice.blocks)
    _check_number("head", None if choice.head == "all" else choice.head, blocks, {b.name: b.heads for b in blocks})
    grouped = {block.name: block.groups for block in blocks if isinstance(block, DeformableBlock)}
    _check_number("group", choice.group, blocks, grouped)
    _check_agree(choice, blocks)
    head = choice.head if choice.head is None or choice.head == "all" else choice.head - 1
    return Selection(
        blocks,
        head,
        None if choice.group is None else choice.group - 1,
        choice.queries or tuple(explanation.salient(_QUERIES if len(blocks) == 1 else 1)),
        _compared(explanation, blocks if choice.blocks else ()),
    )


def check_queries(choice: Choice, source: str, size: tuple[int, int]) -> None:
    """Refuse places outside of an image.

    Args:
        choice: Whose queries.
        source: What the image is called.
        size: Its (width, height).

    Raises:
        DataError: There are such.
    """
    for x, y in choice.queries:
        if not (0 <= x <= size[0] and 0 <= y <= size[1]):
            raise DataError(
                f"query {x:g},{y:g} is outside of {printable(source)}, which has {size[0]} x {size[1]} pixels"
            )


def _blocks(explanation: Explanation, names: Sequence[str]) -> tuple[AttentionBlock, ...]:
    if not names:
        return explanation.deformable
    known = {block.name: block for block in explanation.blocks}
    for name in names:
        if name not in known:
            deformable = ", ".join(block.name for block in explanation.deformable)
            hint = f"stage and block, from 1; deformable are {deformable}"
            raise UsageError(f"{explanation.architecture} has no block {name!r}", hint=hint)
    return tuple(block for block in explanation.blocks if block.name in names)


def _check_number(what: str, number: int | None, blocks: Sequence[AttentionBlock], counts: dict[str, int]) -> None:
    if number is None:
        return
    for block in blocks:
        count = counts.get(block.name, 0)
        if not 1 <= number <= count:
            some = f"it has {count}, counted from 1" if count else f"only deformable blocks have {what}s"
            raise UsageError(f"block {block.name} has no {what} {number}", hint=f"{some}; choose blocks with --block")


def _check_agree(choice: Choice, blocks: Sequence[AttentionBlock]) -> None:
    """Refuse a head of another group than the one that is asked for."""
    if choice.head is None or choice.group is None:
        return
    if choice.head == "all":
        raise UsageError("all heads have their groups' points, not those of one", hint="leave out --head or --group")
    for block in blocks:
        per_group = block.heads // block.groups if isinstance(block, DeformableBlock) else 1
        if (group := (choice.head - 1) // per_group + 1) != choice.group:
            raise UsageError(f"head {choice.head} of block {block.name} is of group {group}", hint="leave out --group")


def _compared(explanation: Explanation, chosen: Sequence[AttentionBlock]) -> DeformableBlock:
    """The first deformable one of the chosen blocks; else the last of stage 3, whose map is neither fine nor coarse."""
    of_chosen = [block for block in chosen if isinstance(block, DeformableBlock)]
    return of_chosen[0] if of_chosen else [block for block in explanation.deformable if block.stage == 3][-1]
