"""From what attentions computed to blocks in pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor

from dat_cli.data.geometry import View
from dat_cli.interpret.explanation import Array, AttentionBlock, Cells, DeformableBlock, LocalBlock
from dat_cli.models import DAT
from dat_cli.models.observe import Deformed, Local, Observation
from dat_cli.models.stage import Stage

Observations: TypeAlias = "list[list[Observation]]"
"""By stage and block."""


def by_stage(network: DAT, observed: dict[str, Observation]) -> Observations:
    """What ``observe`` saw of a whole network, in order."""
    depths = [len(cast("Stage", stage).blocks) for stage in network.stages]
    return [
        [observed[f"stages.{stage}.blocks.{block}.attention"] for block in range(depth)]
        for stage, depth in enumerate(depths)
    ]


def cells_of(network: DAT, stage: int, view: View, map_size: tuple[int, int]) -> Cells:
    """Where the cells of a stage's map look in the image: at the centres of what their convolutions see.

    Windows of 4 x 4 and 2 x 2 pixels lie side by side, and a cell is centred on its square. The 3 x 3 windows of DAT++
    with a border of one pixel begin a pixel before the image: cell i is centred on pixel i x stride itself.
    """
    stride = 4 * 2**stage
    first = 0.5 if network.variant.convolutions else stride / 2
    x, y = view.to_image([first, first])
    return Cells(map_size, (float(x), float(y)), (stride * view.scale[0], stride * view.scale[1]))


def blocks_of(network: DAT, seen: Observations, cells: Sequence[Cells]) -> Iterator[AttentionBlock]:
    """All blocks of a network, one after another.

    Args:
        network: Whose.
        seen: What they computed.
        cells: The map of each stage.
    """
    for stage, observations in enumerate(seen):
        kinds = network.variant.blocks[stage]
        for block, (kind, observation) in enumerate(zip(kinds, observations, strict=True)):
            place = _Place(stage + 1, block + 1, kind, cells[stage], observation.weights.shape[1])
            if isinstance(observation, Deformed):
                yield _deformable(place, observation)
            else:
                yield _local(place, observation)


def to_array(tensor: Tensor) -> Array:
    """As NumPy has it, which knows no bfloat16."""
    array: Array = tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).numpy()
    return array


@dataclass(frozen=True)
class _Place:
    """What every block says of itself, see ``AttentionBlock``."""

    stage: int
    block: int
    kind: str
    cells: Cells
    heads: int


def _deformable(place: _Place, seen: Deformed) -> DeformableBlock:
    half = (to_array(seen.positions.new_tensor(seen.map_size)) - 1) / 2  # cells a unit of a coordinate, (y, x)
    reference, offsets, positions = (to_array(x) for x in (seen.reference, seen.offsets[0], seen.positions[0]))
    return DeformableBlock(
        **vars(place),
        weights=to_array(seen.weights[0].unflatten(1, seen.map_size)),
        groups=len(positions),
        reference=place.cells.pixels((reference + 1) * half),
        offsets=(offsets * half)[..., ::-1] * place.cells.step,
        positions=place.cells.pixels((positions + 1) * half),
        normalised=positions,
    )


def _local(place: _Place, seen: Local) -> LocalBlock:
    height, width = seen.map_size
    rows, columns = seen.cells // seen.padded_size[1], seen.cells % seen.padded_size[1]
    inside = (rows < height) & (columns < width)
    keys = (rows * width + columns).where(inside, -1)
    return LocalBlock(**vars(place), weights=to_array(seen.weights[0]), keys=keys.cpu().numpy())
