"""What the attentions of a network computed, seen without a change of its forward pass.

Each attention has an ``observer``, which is None and costs nothing until ``observe`` sets it. An attention that is
observed computes its weights in the plain form, because the fast paths never hold them; its output stays the same up
to rounding, and gradients flow through what is observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn


@dataclass(frozen=True)
class Deformed:
    """What deformable attention computed; coordinates are (y, x), -1 and 1 the centres of the first and last cell.

    Attributes:
        reference: (Hk, Wk, 2), reference points.
        offsets: (B, G, Hk, Wk, 2), what the network adds to them, before positions are held inside the map.
        positions: (B, G, Hk, Wk, 2), where keys and values were sampled.
        weights: (B, h, H W, N), attention of each query to the N = Hk Wk keys of its head's group.
        map_size: (H, W).
    """

    reference: Tensor
    offsets: Tensor
    positions: Tensor
    weights: Tensor
    map_size: tuple[int, int]


@dataclass(frozen=True)
class Local:
    """What window or neighbourhood attention computed.

    Attributes:
        cells: (H, W, K), the keys that each query sees, as row x W' + column of a map W' wide.
        weights: (B, h, H, W, K), attention to them.
        padded_size: (H', W'), the map with the zeros that were added at the bottom and the right.
    """

    cells: Tensor
    weights: Tensor
    padded_size: tuple[int, int]

    @property
    def map_size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.cells.shape[0], self.cells.shape[1]


Observation: TypeAlias = "Deformed | Local"


class Observable(nn.Module):
    """A module that tells its observer, if it has one, what it computed."""

    observer: Callable[[Observation], None] | None = None


@contextmanager
def observe(network: nn.Module) -> Iterator[dict[str, Observation]]:
    """Watch the attentions of a network inside the ``with`` block; several may watch at once.

    Args:
        network: Any module with our attentions in it.

    Yields:
        What each of them computed in the newest forward pass, by the attention's name in the network.
    """
    seen: dict[str, Observation] = {}
    watched = {name: module for name, module in network.named_modules() if isinstance(module, Observable)}
    before = {module: module.observer for module in watched.values()}
    try:
        for name, module in watched.items():
            module.observer = _keep(seen, name, before[module])
        yield seen
    finally:
        for module, observer in before.items():
            module.observer = observer


def _keep(
    seen: dict[str, Observation], name: str, also: Callable[[Observation], None] | None
) -> Callable[[Observation], None]:
    def keep(observation: Observation) -> None:
        seen[name] = observation
        if also is not None:
            also(observation)

    return keep
