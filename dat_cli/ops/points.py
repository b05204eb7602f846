"""Normalised coordinates of the cells of a map, as each generation defines them.

Every axis runs from -1 to 1; (y, x) order. The two definitions of reference points are those of the authors' code,
which the published weights rely on. In inference on a CPU points are kept between calls, and must not be written to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dat_cli.catalog import Generation
from dat_cli.ops.kept import kept_by_size


def reference_points(height: int, width: int, generation: Generation, like: Tensor) -> Tensor:
    """Where sampling points stand before they are moved (DAT, section 3.2): (H, W, 2).

    DAT: centre of cell i at (i + 0.5) / H. DAT++: (i + 0.5) / (H - 1), which is off-centre; 0 for a single cell.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        generation: Which definition.
        like: Gives the type and the device.
    """
    return kept_by_size(_references, height, width, generation, like=like)


def query_points(height: int, width: int, generation: Generation, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where queries stand when the position bias looks up their distance to a key: y (H,) of rows, x (W,) of columns.

    DAT: cell centres as above. DAT++: i / (H - 1), from border to border; 0 for a single cell.
    """
    return kept_by_size(_queries, height, width, generation, like=like)


def _references(height: int, width: int, generation: Generation, like: Tensor) -> Tensor:
    rows, columns = _centres(height, generation, like), _centres(width, generation, like)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)


def _queries(height: int, width: int, generation: Generation, like: Tensor) -> tuple[Tensor, Tensor]:
    if generation == "dat":
        return _centres(height, generation, like), _centres(width, generation, like)
    return _corners(height, like), _corners(width, like)


def _centres(size: int, generation: Generation, like: Tensor) -> Tensor:
    """(i + 0.5) / (size or size - 1) * 2 - 1 for all cells i."""
    if generation == "dat_pp" and size == 1:
        return like.new_zeros(1)
    cell = 2 / (size if generation == "dat" else size - 1)
    return _line(cell / 2 - 1, cell * (size - 0.5) - 1, size, like)


def _corners(size: int, like: Tensor) -> Tensor:
    return _line(-1, 1, size, like) if size > 1 else like.new_zeros(1)


def _line(first: float, last: float, size: int, like: Tensor) -> Tensor:
    return torch.linspace(first, last, size, dtype=like.dtype, device=like.device)
