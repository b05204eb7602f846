"""What other networks see of a map, held to their papers' geometry."""

from __future__ import annotations

import numpy as np
import pytest

from dat_cli.interpret.fields import Field, deformable_convolution, dense, reduced, window


def _cells(field: Field) -> set[tuple[int, int]]:
    return {
        (row, column)
        for top, left, bottom, right in field.boxes.tolist()
        for row in range(top, bottom)
        for column in range(left, right)
    }


def _area(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(row, column) for row in rows for column in columns}


def test_dense_attention_has_every_cell_as_a_key() -> None:
    field = dense(3, 5)
    assert field.count == 15
    assert _cells(field) == _area(range(3), range(5))


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [(0, 0, range(7), range(7)), (6, 7, range(7), range(7, 14)), (13, 13, range(7, 14), range(7, 14))],
)
def test_a_window_is_the_one_that_the_query_lies_in(row: int, column: int, rows: range, columns: range) -> None:
    field = window(row, column, 14, 14, shifted=False)
    assert _cells(field) == _area(rows, columns)
    assert field.count == 49


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [(6, 7, range(3, 10), range(3, 10)), (0, 5, range(3), range(3, 10)), (13, 13, range(10, 14), range(10, 14))],
)
def test_a_shifted_window_is_moved_by_three_cells_and_cut_at_the_border(
    row: int, column: int, rows: range, columns: range
) -> None:
    assert _cells(window(row, column, 14, 14, shifted=True)) == _area(rows, columns)


def test_the_shifted_windows_of_all_queries_are_those_that_swin_masks() -> None:
    """Swin rolls the map by 3, cuts it in windows, and masks what was no neighbour before: regions cut at -7 and -3."""
    size, shift, side = 21, 3, 7
    places = np.arange(size)
    rolled = (places - shift) % size
    region = np.where(rolled < size - side, 0, np.where(rolled < size - shift, 1, 2))
    for row in places:
        seen = [(other - shift) % size // side == (row - shift) % size // side for other in places]
        expected = places[np.array(seen) & (region == region[row])]
        rows = {cell[0] for cell in _cells(window(int(row), 0, size, size, shifted=True))}
        assert rows == set(expected.tolist())


def test_there_is_nothing_to_shift_where_one_window_covers_the_map() -> None:
    for shifted in (False, True):
        assert _cells(window(2, 3, 7, 7, shifted=shifted)) == _area(range(7), range(7))
        assert _cells(window(0, 20, 5, 40, shifted=shifted)) == _area(
            range(5), range(17, 24) if shifted else range(14, 21)
        )


@pytest.mark.parametrize(("stage", "size", "keys"), [(1, 56, 49), (2, 28, 49), (3, 14, 49), (4, 7, 49)])
def test_pvt_leaves_as_many_keys_in_every_stage(stage: int, size: int, keys: int) -> None:
    field = reduced(size, size, stage)
    assert field.count == keys
    assert _cells(field) == _area(range(size), range(size))


def test_what_pvt_cannot_merge_is_no_key() -> None:
    field = reduced(9, 12, 2)  # 4 x 4 cells: two rows and three columns of them
    assert field.count == 6
    assert _cells(field) == _area(range(8), range(12))
    assert reduced(3, 40, 1).count == 5  # lower than its kernel


def test_a_deformable_convolution_at_rest_is_three_by_three_around_the_query() -> None:
    field = deformable_convolution(0, 4)
    assert field.count == 9
    assert {tuple(point) for point in field.points.tolist()} == _area(range(-1, 2), range(3, 6))
