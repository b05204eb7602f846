"""What a network looked at in one image, as arrays.

Pixels are those of the original image, whatever it was resized to and cropped: (x, y), continuous, (0, 0) the top left
corner of the first pixel and (width, height) the bottom right corner of the last. The classes hold NumPy arrays alone,
and nothing here knows of networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from dat_cli.data.geometry import View
from dat_cli.errors import ModelError
from dat_cli.ops.bilinear import bilinear_splat

Array: TypeAlias = npt.NDArray[Any]

_APART = 0.2  # of the longer side of the map, between two salient places


class Look(NamedTuple):
    """What one query looks at.

    Attributes:
        query: (x, y), centre of the query's cell.
        keys: (K, 2), where the keys are, (x, y).
        weights: (K,), attention to each; they sum to 1.
        groups: (K,), the group of each key; 0 in blocks without groups.
        footprint: (H, W), the share of the attention that falls on each cell of the map. A key between cells is
            sampled from the four around it; what falls outside of the map is lost, so that the sum may be below 1.
    """

    query: Array
    keys: Array
    weights: Array
    groups: Array
    footprint: Array


@dataclass(frozen=True)
class Cells:
    """How the cells of a map lie in the image.

    Attributes:
        map_size: (H, W), rows and columns.
        first: Centre of the first cell, (x, y) in pixels.
        step: From one cell's centre to the next, (x, y) in pixels.
    """

    map_size: tuple[int, int]
    first: tuple[float, float]
    step: tuple[float, float]

    @property
    def centres(self) -> Array:
        """(H, W, 2), the centre of each cell in pixels."""
        return self.pixels(np.moveaxis(np.indices(self.map_size), 0, -1))

    def pixels(self, cells: npt.ArrayLike) -> Array:
        """Fractional (row, column), (..., 2), as (x, y) in pixels."""
        return np.asarray(cells)[..., ::-1] * self.step + self.first

    def nearest(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the cell whose centre is nearest to a pixel."""
        column, row = (np.array([x, y]) - self.first) / self.step
        height, width = self.map_size
        return int(np.clip(round(row), 0, height - 1)), int(np.clip(round(column), 0, width - 1))


@dataclass(frozen=True)
class AttentionBlock(ABC):
    """One block's attention.

    Attributes:
        stage: From 1, as in the papers.
        block: From 1, within the stage.
        kind: ``D`` deformable, ``N`` neighbourhood, ``L`` window, ``S`` shifted window.
        cells: The map whose cells are the queries.
        heads: h.
        weights: (h, H, W, K), attention of each query to each of its keys; sums to 1 over them.
    """

    stage: int
    block: int
    kind: str
    cells: Cells
    heads: int
    weights: Array

    @property
    def name(self) -> str:
        """What ``--block`` takes, such as ``3.2``: the second block of the third stage."""
        return f"{self.stage}.{self.block}"

    @property
    def module(self) -> str:
        """The block's name in the network."""
        return f"stages.{self.stage - 1}.blocks.{self.block - 1}"

    @abstractmethod
    def look(self, x: float, y: float, *, head: int | None = None, group: int | None = None) -> Look:
        """What the query nearest to a pixel looks at.

        Args:
            x: Pixels from the left.
            y: Pixels from the top.
            head: From 0; None for the mean of all heads, or of those of the group.
            group: From 0; None for all. Only deformable blocks have groups.

        Raises:
            ModelError: There is no such head or group, or the head is of another group.
        """


@dataclass(frozen=True)
class DeformableBlock(AttentionBlock):
    """Attention to keys that were sampled at learned positions.

    Attributes:
        groups: G; heads belong to them in order: head = group x (h / G) + head in group.
        reference: (Hk, Wk, 2), reference points in pixels, (x, y).
        offsets: (G, Hk, Wk, 2), what the network adds to them, in pixels, before a position is held inside the map.
        positions: (G, Hk, Wk, 2), where it samples, in pixels.
        normalised: (G, Hk, Wk, 2), the same as the network has it: (y, x), -1 and 1 the centres of the first and the
            last cell.
    """

    groups: int
    reference: Array
    offsets: Array
    positions: Array
    normalised: Array

    @property
    def received(self) -> Array:
        """(h, N): the share of all attention of a head that falls on each key, over all queries; sums to 1."""
        return self.weights.mean(axis=(1, 2))

    @property
    def received_by_group(self) -> Array:
        """(G, Hk, Wk): the same as the mean of each group's heads, each group's sums to 1."""
        by_group = self.received.reshape(self.groups, self.heads // self.groups, -1).mean(axis=1)
        return by_group.reshape(self.positions.shape[:3])

    def look(self, x: float, y: float, *, head: int | None = None, group: int | None = None) -> Look:
        """What the query nearest to a pixel looks at: the keys of the heads' groups."""
        row, column = self.cells.nearest(x, y)
        per_group = self.heads // self.groups
        by_group = self.weights[:, row, column].reshape(self.groups, per_group, -1)  # (G, h / G, N)
        _require(self, "head", head, self.heads)
        _require(self, "group", group, self.groups)
        if head is not None:
            if group not in (None, head // per_group):
                raise ModelError(f"head {head} of block {self.name} is of group {head // per_group}, not {group}")
            group, within = divmod(head, per_group)
            by_group = by_group[:, within : within + 1]
        groups = np.arange(self.groups) if group is None else np.array([group])
        weights = by_group[groups].mean(axis=1) / len(groups)  # (G', N)
        positions = self.normalised[groups]
        shares = torch.from_numpy(weights.reshape(len(groups), 1, *positions.shape[1:3]))
        footprint = bilinear_splat(shares, torch.from_numpy(positions), self.cells.map_size).sum(dim=(0, 1)).numpy()
        keys = self.positions[groups].reshape(-1, 2)
        query = self.cells.centres[row, column]
        return Look(query, keys, weights.flatten(), groups.repeat(weights.shape[1]), footprint)


@dataclass(frozen=True)
class LocalBlock(AttentionBlock):
    """Attention to cells nearby.

    Attributes:
        keys: (H, W, K), the cells that each query sees, as row x W + column; -1 for padding.
    """

    keys: Array

    def look(self, x: float, y: float, *, head: int | None = None, group: int | None = None) -> Look:
        """What the query nearest to a pixel looks at; padding is left out."""
        _require(self, "head", head, self.heads)
        _require(self, "group", group, 0)
        row, column = self.cells.nearest(x, y)
        by_head = self.weights[:, row, column]  # (h, K)
        weights = by_head.mean(axis=0) if head is None else by_head[head]
        keys = self.keys[row, column]
        weights, keys = weights[keys >= 0], keys[keys >= 0]
        footprint = np.zeros(self.cells.map_size, weights.dtype)
        footprint.flat[keys] = weights
        centres = self.cells.centres
        return Look(centres[row, column], centres.reshape(-1, 2)[keys], weights, np.zeros(len(keys), int), footprint)


@dataclass(frozen=True)
class Saliency:
    """How much each part of the image contributed, as a map of the first stage's cells.

    Attributes:
        cells: The map.
        rollout: (H, W), attention rolled back through all blocks (Abnar and Zuidema, ACL 2020); sums to at most 1.
        gradient: (H, W), the same weighted by gradients of the class's logit (Chefer et al., ICCV 2021); not negative.
    """

    cells: Cells
    rollout: Array
    gradient: Array


@dataclass(frozen=True)
class Explanation:
    """What a network looked at in one image.

    Attributes:
        architecture: Name of the variant.
        view: How the network's input was cut out of the image.
        logits: (classes,).
        probabilities: (classes,), softmax of the logits.
        target: The class that the saliency is of.
        classes: Names of the classes; numbers where they have none.
        blocks: All blocks in order.
        saliency: Where the evidence is.
    """

    architecture: str
    view: View
    logits: Array
    probabilities: Array
    target: int
    classes: tuple[str, ...]
    blocks: tuple[AttentionBlock, ...]
    saliency: Saliency

    @property
    def deformable(self) -> tuple[DeformableBlock, ...]:
        """The blocks with sampling points."""
        return tuple(block for block in self.blocks if isinstance(block, DeformableBlock))

    def on_image(self, values: Array, cells: Cells, size: tuple[int, int]) -> Array:
        """A map as values of the image's pixels, interpolated between the cells' centres.

        Args:
            values: (H, W), of the cells.
            cells: Where they lie.
            size: (width, height) of the result, which shows the whole image.

        Returns:
            (height, width); NaN where the network was not given the image.
        """
        left, top, right, bottom = self.view.box
        columns = (np.arange(size[0]) + 0.5) * self.view.image[0] / size[0]
        rows = (np.arange(size[1]) + 0.5) * self.view.image[1] / size[1]
        across = _tents((columns - cells.first[0]) / cells.step[0], cells.map_size[1])
        down = _tents((rows - cells.first[1]) / cells.step[1], cells.map_size[0])
        shown: Array = down @ values @ across.T
        shown[(rows < top) | (rows > bottom)] = np.nan
        shown[:, (columns < left) | (columns > right)] = np.nan
        return shown

    def salient(self, count: int) -> list[tuple[float, float]]:
        """The most salient places, apart from each other: (x, y) in pixels, the most salient first."""
        cells = self.saliency.cells
        values = self.saliency.gradient if self.saliency.gradient.any() else self.saliency.rollout
        left, centres = values.astype(float), cells.centres
        apart = _APART * max(cells.map_size)
        rows, columns = np.indices(cells.map_size)
        found: list[tuple[float, float]] = []
        while len(found) < count and np.isfinite(left).any():
            row, column = np.unravel_index(int(np.nanargmax(left)), left.shape)
            found.append((float(centres[row, column, 0]), float(centres[row, column, 1])))
            left[np.hypot(rows - row, columns - column) < apart] = np.nan
        return found


def _require(block: AttentionBlock, what: str, number: int | None, count: int) -> None:
    if number is not None and not 0 <= number < count:
        raise ModelError(f"block {block.name} has no {what} {number}", hint=f"it has {count}, counted from 0")


def _tents(places: Array, cells: int) -> Array:
    """(P, cells): weights of the two cells nearest to each place, beyond the outermost centres of those alone."""
    places = np.clip(places, 0, cells - 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, None)
