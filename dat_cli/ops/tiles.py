"""A map cut into tiles of queries, each with the keys that the neighbourhoods of its queries reach."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.circumstances import is_exported
from dat_cli.ops.relative import relative_bias

# What it costs to copy a tile's keys, in queries that they could be multiplied with: on CPUs, tiles of 4 to 8 queries
# and maps of 14 and 16 cells whole measured best.
_COPY = 6


@dataclass(frozen=True)  # to the compiler of torch 2.6 properties of a named tuple are no numbers
class Tiles:
    """One axis cut into ``number`` tiles of T ``queries``, which see U ``keys`` from ``before`` the first query on."""

    number: int
    queries: int
    keys: int
    before: int

    @property
    def kinds(self) -> int:
        """Tiles that differ: the first, the last, and all between, whose neighbourhoods are not shifted back."""
        return min(self.number, 3)

    def kind_of_each(self, device: torch.device) -> Tensor:
        """(number,), from 0."""
        tile = torch.arange(self.number, device=device)
        return tile.clamp(max=1) + (tile == self.number - 1) * (self.kinds // 3)

    @classmethod
    def along(cls, size: int, kernel: int) -> Tiles:
        """The division of least cost: pairs that are multiplied, and keys that are copied."""
        return (_along if torch.compiler.is_compiling() or is_exported() else _along_again)(size, kernel)

    @property
    def cost(self) -> int:
        """That of the division, to be compared."""
        return self.number * self.keys * (self.queries + _COPY)


def _along(size: int, kernel: int) -> Tiles:
    best = Tiles(1, size, size, 0)
    for queries in range(kernel // 2 + 1, size):
        tiles = Tiles(-(-size // queries), queries, queries + kernel - 1, kernel // 2)
        # Near the end neighbourhoods are shifted back, and must not begin before the last tile's keys.
        if (tiles.number - 1) * queries - tiles.before <= size - kernel and tiles.cost < best.cost:
            best = tiles
    return best


_along_again = lru_cache(_along)


def cut_tiles(x: Tensor, rows: Tiles, columns: Tiles, *, of_keys: bool) -> Tensor:
    """A view of (B, H, W, h, d) by tile, for its queries (B, Ty, Tx, h, T, T', d) or its keys; zeros beyond the map."""
    padding = [0, 0, 0, 0]
    for axis, tiles in ((2, columns), (1, rows)):
        before = tiles.before if of_keys else 0
        padding += [before, (tiles.number - 1) * tiles.queries + (tiles.keys if of_keys else tiles.queries)]
        padding[-1] -= before + x.shape[axis]
    x = F.pad(x, padding)
    for axis, tiles in ((1, rows), (2, columns)):
        x = x.unfold(axis, tiles.keys if of_keys else tiles.queries, tiles.queries)
    return x.permute(0, 1, 2, 3, 5, 6, 4)


def tile_bias(table: Tensor, rows: Tiles, columns: Tiles, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The bias of each pair in a tile by kind, (K, h, T T', U U'), -inf where the key is no neighbour.

    And the kind of each tile, (Ty Tx,).
    """
    kernel = (table.shape[-1] + 1) // 2
    padding: list[int] = []
    for tiles in (columns, rows):
        # Key u and query t of a tile meet at u - before - t + K - 1; what lies outside the table is no neighbour.
        first = -tiles.before - (tiles.queries - 1) + kernel - 1
        last = tiles.keys - 1 - tiles.before + kernel - 1
        padding += [-first, last - (2 * kernel - 2)]
    bias = relative_bias(F.pad(table, padding), (rows.keys, columns.keys))
    y = _walls(rows, height, kernel, like=table)
    x = y if height == width else _walls(columns, width, kernel, like=table)
    walls = y[:, None, :, None, :, None] + x[None, :, None, :, None, :]  # (kinds, kinds', T, T', U, U')
    bias = bias + walls.flatten(4).flatten(2, 3).flatten(0, 1)[:, None]
    y, x = (tiles.kind_of_each(table.device) for tiles in (rows, columns))
    return bias, (y[:, None] * columns.kinds + x).flatten()


def _walls(tiles: Tiles, size: int, kernel: int, like: Tensor) -> Tensor:
    """(kinds, T, U): along one axis, 0 where a key belongs to a query's neighbourhood, else -inf."""
    query = torch.arange(tiles.queries, device=like.device)[:, None]
    key = torch.arange(-tiles.before, tiles.keys - tiles.before, device=like.device)
    if tiles.number > 1:
        kind = torch.arange(tiles.kinds, device=like.device)[:, None, None]
        tile = (kind + (kind == tiles.kinds - 1) * (tiles.number - tiles.kinds)) * tiles.queries
        query, key = tile + query, tile + key
    # Queries beyond the map see what the last one sees: of an empty row, softmax would make no numbers.
    middle = (query - kernel // 2).clamp(0, size - kernel) + kernel // 2
    walls = torch.where((key - middle).abs() > kernel // 2, float("-inf"), like.new_zeros(()))
    return walls.expand(tiles.kinds, -1, -1)
