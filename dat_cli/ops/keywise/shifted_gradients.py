"""The gradients of a bias whose pieces are moved: those of its table, and of the positions of keys."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dat_cli.ops.keywise.between import between, slopes, spread, taken
from dat_cli.ops.keywise.pieces import Block, Pieces
from dat_cli.ops.keywise.shifted import Shifted, ShiftedKeys


class ShiftedGradients:
    """Added up from block to block.

    Args:
        whole: The bias.
        key_points: Of all keys, (N, 2).
    """

    def __init__(self, whole: Shifted, key_points: Tensor) -> None:
        self._whole, self._of_points = whole, torch.zeros_like(key_points)
        every = whole.of_keys(key_points)
        self._pieces = Pieces(whole.table, every.row, every.column, whole.rows.cells, whole.columns.cells)

    def of_block(self, bias: ShiftedKeys, keys: slice, rows: slice) -> BlockGradients:
        """For some keys, with their bias, and some rows of queries; to be done with before the next block."""
        high = rows.stop - rows.start + self._whole.rows.steps
        block = self._pieces.block(bias.row + rows.start, bias.column, high)
        return BlockGradients(bias, rows, block, self._of_points[keys].unbind(-1))

    def table(self) -> Tensor:
        """That of the table after all blocks, (h, 2 H0 - 1, 2 W0 - 1)."""
        padded = torch.zeros_like(self._whole.table)
        self._pieces.add_to(padded)
        return self._whole.cropped(padded)

    def points(self) -> Tensor:
        """That of the positions after all blocks, (N, 2)."""
        moved = self._whole.rows.moved, self._whole.columns.moved
        return self._of_points * self._of_points.new_tensor(moved)


class BlockGradients:
    """Of some keys and some rows of queries.

    Args:
        bias: Of the keys.
        rows: Of queries.
        block: Where the gradients of pieces of the table go.
        of_points: Where those of the keys' y and x, in cells, are added to, (N,) each.
    """

    def __init__(self, bias: ShiftedKeys, rows: slice, block: Block, of_points: tuple[Tensor, ...]) -> None:
        self._bias, self._rows, self._block, self._of_points = bias, rows, block, of_points
        self._down, self._across = bias.down_steps(rows), bias.across_steps
        # On a cell that is the next one, as in sampling, if there is one.
        self._down_arrived, self._across_arrived = (
            [(share == 1).to(share.dtype) for share in shares[:-1]] for shares in (self._down, self._across)
        )
        self._down_parts, self._across_parts = taken(self._down), taken(self._across)

    def derivable(self, head: int) -> tuple[Tensor, Callable[[Tensor], None]]:
        """The bias, (N, M), and its backward, which takes its gradient."""
        seen = self._bias.seen(head, self._rows)
        sideways = between(seen, self._across, 2)
        found = between(sideways, self._down, 1)

        def backward(gradient: Tensor) -> None:
            gradient, upward = gradient.view_as(found), torch.empty_like(sideways)
            self._of_points[0].add_(slopes(sideways, self._down_arrived, 1).mul_(gradient).sum(dim=(1, 2)))
            spread(gradient, self._down_parts, 1, upward)
            self._of_points[1].add_(slopes(seen, self._across_arrived, 2).mul_(upward).sum(dim=(1, 2)))
            spread(upward, self._across_parts, 2, self._block.pieces.view(seen.shape))
            self._block.add(head)

        return found.flatten(1), backward
