"""What attention by keys is made of: interpolation by steps, and pieces that are added up where they overlap."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dat_cli.ops.keywise.between import between, slopes, spread, taken
from dat_cli.ops.keywise.pieces import Pieces


def shares_of(positions: Tensor, steps: int) -> list[Tensor]:
    """How far each step has gone, where queries stand so many cells from their first one."""
    return [(positions - step).clamp(0, 1) for step in range(steps)]


def step_by_step(maps: Tensor, shares: list[Tensor], axis: int) -> Tensor:
    """What ``between`` finds, in operations that autograd follows."""
    size = maps.shape[axis] - len(shares)
    found = maps.narrow(axis, 0, size)
    for step, share in enumerate(shares, start=1):
        found = found.lerp(maps.narrow(axis, step, size), share)
    return found


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_interpolation_is_derived_as_autograd_does(steps: int, axis: int) -> None:
    shape = [4, 5, 6]
    maps = torch.randn([size + steps * (at == axis) for at, size in enumerate(shape)], requires_grad=True)
    positions = (torch.rand(4, shape[axis]) * steps).unsqueeze(3 - axis).requires_grad_()
    shares = shares_of(positions, steps)
    gradient = torch.randn(shape)
    found = step_by_step(maps, shares, axis)
    to_maps, to_positions = torch.autograd.grad(found, (maps, positions), gradient)
    with torch.no_grad():
        torch.testing.assert_close(between(maps, shares, axis), found)
        written = torch.full_like(maps, float("nan"))
        spread(gradient, taken(shares), axis, written)
        arrived = [(share == 1).float() for share in shares[:-1]]
        moved = (slopes(maps, arrived, axis) * gradient).sum(dim=3 - axis, keepdim=True)
    torch.testing.assert_close(written, to_maps)
    torch.testing.assert_close(moved, to_positions)


@pytest.mark.parametrize("beyond", [0, 40])  # columns before the first piece
@pytest.mark.parametrize("wide", [3, 20])
def test_pieces_are_added_where_they_were_taken_from(wide: int, beyond: int) -> None:
    heads, high, count = 2, 5, 30
    rows = torch.randint(7, 19, (count,), dtype=torch.int32)
    columns = torch.randint(0, 35, (count,), dtype=torch.int32) + beyond
    maps = torch.randn(heads, 24, int(columns.max()) + wide)
    expected = maps.clone()
    pieces = Pieces(maps, rows, columns, high, wide)
    for band in (slice(0, 3), slice(3, high)):  # the rows of pieces, some at a time
        for some in (slice(0, 10), slice(10, count)):
            of_band = band.stop - band.start
            block = pieces.block(rows[some] + band.start, columns[some], of_band)
            for head in range(heads):
                values = torch.randn(len(rows[some]), of_band, wide)
                block.pieces.copy_(values.flatten(0, 1))
                block.add(head)
                for row, column, piece in zip(rows[some].tolist(), columns[some].tolist(), values, strict=True):
                    expected[head, row + band.start : row + band.stop, column : column + wide] += piece
    pieces.add_to(maps)
    torch.testing.assert_close(maps, expected)
