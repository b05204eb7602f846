"""The numbers behind the pictures, as plain values that JSON can hold.

Places are (x, y) in pixels of the original image, but for ``normalised``, which is (y, x) as the network has it.
Blocks, heads and groups are counted from 1, as in the papers and in the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from dat_cli.interpret.explanation import Array, AttentionBlock, Cells, DeformableBlock, Explanation
from dat_cli.interpret.fields import Field, deformable_convolution, dense, reduced, window
from dat_cli.interpret.select import Selection

Numbers = dict[str, Any]


def numbers_of(explanation: Explanation, selection: Selection, pictures: Collection[str]) -> Numbers:
    """What the pictures show, for one image.

    Args:
        explanation: Of the image.
        selection: What of it.
        pictures: Names of the pictures whose numbers are wanted.
    """
    view = explanation.view
    named = {"class": explanation.classes[explanation.target], "index": explanation.target}
    return {
        "architecture": explanation.architecture,
        "image": {"width": view.image[0], "height": view.image[1]},
        "input": {"width": view.size[0], "height": view.size[1], "box": _plain(view.box)},
        "target": {**named, "probability": float(explanation.probabilities[explanation.target])},
        "units": "pixels of the image as (x, y) from its top left corner; normalised: (y, x) of the block's map",
        **{name: _PICTURES[name](explanation, selection) for name in _PICTURES if name in pictures},
    }


def _points(_: Explanation, selection: Selection) -> list[Numbers]:
    return [{**_block(block), **_sampled(block, selection.group)} for block in selection.deformable]


def _sampled(block: DeformableBlock, group: int | None) -> Numbers:
    per_group = block.heads // block.groups
    groups = range(block.groups) if group is None else [group]
    return {
        "grid": list(block.reference.shape[:2]),
        "reference": _flat(block.reference),
        "groups": [
            {
                "group": index + 1,
                "heads": list(range(index * per_group + 1, (index + 1) * per_group + 1)),
                "offsets": _flat(block.offsets[index]),
                "positions": _flat(block.positions[index]),
                "normalised": _flat(block.normalised[index]),
                "attention": _plain(block.received_by_group[index].flatten()),
            }
            for index in groups
        ],
    }


def _attention(_: Explanation, selection: Selection) -> list[Numbers]:
    return [
        {**_block(block), "queries": [_look(block, query, selection, head) for query, head in _asked(block, selection)]}
        for block in selection.blocks
    ]


def _asked(block: AttentionBlock, selection: Selection) -> list[tuple[tuple[float, float], int | None]]:
    heads: Sequence[int | None] = range(block.heads) if selection.head == "all" else [selection.head]
    return [(query, head) for query in selection.queries for head in heads]


def _look(block: AttentionBlock, query: tuple[float, float], selection: Selection, head: int | None) -> Numbers:
    look = block.look(*query, head=head, group=selection.group)
    grouped = {"groups": [int(group) + 1 for group in look.groups]} if isinstance(block, DeformableBlock) else {}
    return {
        "query": _plain(query),
        "cell": _plain(look.query),
        "head": None if head is None else head + 1,
        "keys": _plain(look.keys),
        **grouped,
        "weights": _plain(look.weights),
        "footprint": _plain(look.footprint),
    }


def _saliency(explanation: Explanation, _: Selection) -> Numbers:
    saliency = explanation.saliency
    return {
        **_axes(saliency.cells),
        "rollout": _plain(saliency.rollout),
        "gradient": _plain(saliency.gradient),
    }


def _compare(_: Explanation, selection: Selection) -> Numbers:
    block, query = selection.compared, selection.queries[0]
    row, column = block.cells.nearest(*query)
    height, width = block.cells.map_size
    fields = {
        "ViT": dense(height, width),
        "Swin": window(row, column, height, width, shifted=False),
        "Swin, shifted": window(row, column, height, width, shifted=True),
        "PVT": reduced(height, width, block.stage),
        "DCN": deformable_convolution(row, column),
    }
    return {
        **_block(block),
        "query": _plain(query),
        "cell": _plain(block.cells.centres[row, column]),
        "networks": {
            **{name: _field(field, block.cells) for name, field in fields.items()},
            "DAT": {"keys": block.groups * block.received.shape[1]},
        },
    }


def _field(field: Field, cells: Cells) -> Numbers:
    corners = cells.pixels(field.boxes.reshape(-1, 2, 2) - 0.5)  # of the areas, (N, 2, 2)
    return {
        "keys": field.count,
        "boxes": [[*first, *last] for first, last in _plain(corners)],
        "points": _plain(cells.pixels(field.points)),
    }


def _block(block: AttentionBlock) -> Numbers:
    grouped = {"groups_count": block.groups} if isinstance(block, DeformableBlock) else {}
    named = {"block": block.name, "module": block.module, "kind": block.kind, "heads": block.heads}
    return {**named, **grouped, "map": _axes(block.cells)}


def _axes(cells: Cells) -> Numbers:
    """Centres of the cells: x of each column, y of each row."""
    centres = cells.centres
    return {"x": _plain(centres[0, :, 0]), "y": _plain(centres[:, 0, 1])}


def _flat(places: Array) -> Any:
    return _plain(places.reshape(-1, places.shape[-1]))


def _plain(values: Any) -> Any:
    """Nested lists of numbers with as many digits as float32 has."""
    array = np.asarray(values, dtype=np.float64)
    return np.vectorize(lambda value: float(f"{value:.8g}"), otypes=[np.float64])(array).tolist() if array.size else []


_PICTURES: dict[str, Callable[[Explanation, Selection], Any]] = {
    "points": _points,
    "attention": _attention,
    "saliency": _saliency,
    "compare": _compare,
}
