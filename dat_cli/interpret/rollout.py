"""Attention rolled back through the blocks to the image.

Every block mixes the cells of its map: with the residual path, half of a cell's output is taken to come from itself and
half from what its attention looks at (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020). The
relevance of cells, a row vector r, goes back through one block as

    r <- r / 2 + r A / 2,

where row i of A says on which cells the attention of cell i falls. A deformable block samples its keys between cells:
the attention of a key is given back to the four cells around it, by their bilinear weights. A is never formed, so
that a map of any size costs no more than the attention itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.observe import Deformed, Observation
from dat_cli.ops.bilinear import bilinear_splat


def roll_back(
    relevance: Tensor, stages: Sequence[Sequence[tuple[Observation, Tensor]]], *, overlapping: bool
) -> Tensor:
    """Bring the relevance of the last map's cells back to those of the first stage.

    Args:
        relevance: (H, W), of the last stage's cells.
        stages: For each stage its blocks in order, each with weights of the shape of its own; rows of the mean over
            heads sum to at most 1.
        overlapping: Whether stages are joined by 3 x 3 convolutions (DAT++) instead of 2 x 2.

    Returns:
        (H1, W1); its sum is at most that of ``relevance``, because what falls outside of a map is lost.
    """
    for index in reversed(range(len(stages))):
        for observation, weights in reversed(stages[index]):
            relevance = (relevance + pull_back(relevance, observation, weights)) / 2
        if index:
            relevance = _to_finer(relevance, stages[index - 1][0][0].map_size, overlapping=overlapping)
    return relevance


def pull_back(relevance: Tensor, observation: Observation, weights: Tensor) -> Tensor:
    """The product r A: the relevance of queries, (H, W), given to the cells that they look at, (H, W).

    Args:
        relevance: Of the queries.
        observation: Which keys they have.
        weights: (h, H W, N) or (h, H, W, K), how much they look at them.
    """
    height, width = relevance.shape
    if isinstance(observation, Deformed):
        by_key = (relevance.flatten() @ weights) / len(weights)  # (h, N)
        by_group = by_key.unflatten(0, (observation.positions.shape[1], -1)).sum(dim=1)  # (G, N)
        positions = observation.positions[0]  # (G, Hk, Wk, 2)
        splat = bilinear_splat(by_group.view(*positions.shape[:-1])[:, None], positions, (height, width))
        return splat.sum(dim=(0, 1))
    shares = relevance[..., None] * weights.mean(dim=0)  # (H, W, K)
    padded = shares.new_zeros(observation.padded_size).flatten()
    padded = padded.index_add(0, observation.cells.flatten(), shares.flatten())
    return padded.view(observation.padded_size)[:height, :width]


def supporting(weights: Tensor, gradient: Tensor) -> Tensor:
    """The part of attention that speaks for a class: the positive part of weights times gradients, each row sums to 1.

    After Chefer, Gur and Wolf, "Generic Attention-model Explainability", ICCV 2021, equation 5. The rows are divided by
    their sums over keys and heads, so that they take the place of the weights in the rollout; where nothing
    supports the class, a row is 0.

    Args:
        weights: (h, ..., K).
        gradient: The same shape, derivatives of the class's score.

    Returns:
        The same shape; the mean over heads sums to 1 over keys, or is 0.
    """
    support = (weights * gradient).clamp(min=0)
    total = support.mean(dim=0).sum(dim=-1, keepdim=True)
    return torch.where(total > 0, support / total.clamp(min=torch.finfo(total.dtype).tiny), torch.zeros_like(support))


def _to_finer(relevance: Tensor, size: tuple[int, int], *, overlapping: bool) -> Tensor:
    """Give each cell's relevance to the cells that its convolution sees, so that in sum all of them count alike.

    A window of 2 x 2 is shared evenly; one of 3 x 3 with weights 1, 2, 1, since its border belongs to two windows.
    """
    tent = relevance.new_tensor([1.0, 2.0, 1.0]) / 4 if overlapping else relevance.new_tensor([0.5, 0.5])
    kernel = torch.outer(tent, tent)[None, None]
    padding = 1 if overlapping else 0
    coarse = relevance[None, None]
    beyond = [
        fine - ((cells - 1) * 2 - 2 * padding + len(tent)) for fine, cells in zip(size, relevance.shape, strict=True)
    ]
    return F.conv_transpose2d(coarse, kernel, stride=2, padding=padding, output_padding=beyond)[0, 0]
