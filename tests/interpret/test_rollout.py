"""Relevance goes back through the blocks as the products of their matrices say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dat_cli.interpret.rollout import pull_back, roll_back, supporting
from dat_cli.models import create_model
from dat_cli.models.observe import Deformed, Local, Observation, observe
from dat_cli.ops.bilinear import bilinear_sample


def matrix(seen: Observation) -> Tensor:
    """A written down: row i says on which cells the attention of cell i falls."""
    weights = seen.weights[0]
    if isinstance(seen, Local):
        height, width = seen.cells.shape[:2]
        rows = torch.zeros(height * width, seen.padded_size[0] * seen.padded_size[1], dtype=weights.dtype)
        rows.scatter_add_(1, seen.cells.flatten(0, 1), weights.mean(dim=0).flatten(0, 1))
        return rows.unflatten(1, seen.padded_size)[:, :height, :width].flatten(1)
    height, width = seen.map_size
    each = torch.eye(height * width, dtype=weights.dtype).view(height * width, 1, height, width)
    per_group = len(weights) // seen.positions.shape[1]
    total = torch.zeros(height * width, height * width, dtype=weights.dtype)
    for head, of_head in enumerate(weights):  # (H W, N)
        positions = seen.positions[0, head // per_group].expand(height * width, -1, -1, -1)
        total += of_head @ bilinear_sample(each, *positions.unbind(-1)).flatten(1).T / len(weights)
    return total


@pytest.fixture(scope="module", params=["dat_tiny", "dat_pp_tiny"])
def seen(request: pytest.FixtureRequest) -> list[list[Observation]]:
    torch.manual_seed(0)
    network = create_model(request.param, num_classes=2, img_size=64).double().eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("points.proj.weight", "rpe_table")):
            torch.nn.init.normal_(parameter, std=0.5)
    with observe(network) as observed, torch.no_grad():
        network(torch.rand(1, 3, 72, 96, dtype=torch.float64))
    stages: list[list[Observation]] = [[] for _ in range(4)]
    for name, observation in observed.items():
        stages[int(name.split(".")[1])].append(observation)
    return stages


def test_pulling_back_is_the_product_with_the_matrix(seen: list[list[Observation]]) -> None:
    for observation in (stage[index] for stage in seen for index in range(2)):
        dense = matrix(observation)
        assert (dense.sum(dim=1) <= 1 + 1e-9).all()
        size = observation.map_size if isinstance(observation, Deformed) else observation.cells.shape[:2]
        relevance = torch.rand(size, dtype=torch.float64)
        pulled = pull_back(relevance, observation, observation.weights[0])
        torch.testing.assert_close(pulled.flatten(), relevance.flatten() @ dense)


def test_a_stage_is_the_product_of_its_blocks(seen: list[list[Observation]]) -> None:
    last = seen[-1]
    size = last[0].cells.shape[:2] if isinstance(last[0], Local) else last[0].map_size
    relevance = torch.rand(size, dtype=torch.float64)
    expected = relevance.flatten()
    for observation in reversed(last):
        expected = expected @ (matrix(observation) + torch.eye(len(expected), dtype=torch.float64)) / 2
    rolled = roll_back(relevance, [[(each, each.weights[0]) for each in last]], overlapping=False)
    torch.testing.assert_close(rolled.flatten(), expected)


@pytest.mark.parametrize("overlapping", [False, True])
def test_what_stands_still_is_shared_evenly_by_the_cells_below(overlapping: bool) -> None:
    """Without attention, every cell in the middle of a finer map gets the same, as all of them count alike."""

    def nothing(height: int, width: int) -> tuple[Observation, Tensor]:
        cells = torch.arange(height * width).view(height, width, 1)  # each query sees itself
        return Local(cells, torch.ones(1, 1, height, width, 1), (height, width)), torch.ones(1, height, width, 1)

    finest = (19, 24) if overlapping else (21, 24)  # which half sizes are rounded from, up or down
    stages = [[nothing(*size)] for size in (finest, (10, 12), (5, 6))]
    rolled = roll_back(torch.ones(5, 6), stages, overlapping=overlapping)
    assert rolled.shape == finest
    torch.testing.assert_close(rolled[4:12, 4:16], torch.full((8, 12), 1 / 16))
    assert rolled.sum() <= 30 + 1e-4


def test_support_is_what_is_positive_with_rows_that_sum_to_one() -> None:
    weights = torch.tensor([[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.5, 0.5]]])  # (h, queries, keys)
    gradient = torch.tensor([[[1.0, -1.0], [-1.0, -1.0]], [[0.0, 2.0], [-3.0, 0.0]]])
    support = supporting(weights, gradient)
    torch.testing.assert_close(support.mean(dim=0), torch.tensor([[0.5 / 2.1, 1.6 / 2.1], [0.0, 0.0]]))
