"""The attentions as layers: what padding, windows and neighbourhoods mean, by the plainest arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.errors import ModelError
from dat_cli.models import DeformableAttention, NeighborhoodAttention, WindowAttention


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def filled(layer: nn.Module) -> nn.Module:
    """The layer in double precision, with biases and tables that matter."""
    layer.double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer


def one_pair(layer: nn.Module, query: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
    """Output of a single query, (3 C,), for keys (N, 3 C) and a bias (h, N)."""
    heads = int(bias.shape[0])
    q = query.chunk(3)[0].view(heads, -1)
    k, v = (part.view(len(keys), heads, -1) for part in keys.chunk(3, dim=-1)[1:])
    scores = torch.einsum("hd,nhd->hn", q, k) * q.shape[-1] ** -0.5 + bias
    attended = torch.einsum("hn,nhd->hd", scores.softmax(-1), v).flatten()
    projected: Tensor = layer.get_submodule("proj")(attended)
    return projected


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (8, 11), (11, 12), (6, 9), (2, 3)])
def test_windows_see_zeros_below_and_right_of_the_map(size: tuple[int, int], shifted: bool) -> None:
    window, heads = 4, 2
    layer = filled(WindowAttention(8, heads, window, shifted=shifted))
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    height, width = (-(-side // window) * window for side in size)
    padded = F.pad(x, (0, 0, 0, width - size[1], 0, height - size[0]))
    qkv = layer.get_submodule("qkv")(padded)[0]
    table = layer.get_parameter("relative_position_bias_table")
    shift = 2 if shifted else 0
    cells = [(i, j) for i in range(height) for j in range(width)]

    def place(position: int, length: int) -> tuple[int, int, int]:
        """Window, place in it, and side of the seam after rolling by ``shift``."""
        rolled = (position - shift) % length
        side = 0 if not shift else (rolled >= length - window) + (rolled >= length - shift)
        return rolled // window, rolled % window, side

    output = layer(x)
    for i, j in [(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 2)]:
        (wi, yi, si), (wj, xj, sj) = place(i, height), place(j, width)
        seen = [(a, b) for a, b in cells if place(a, height)[0] == wi and place(b, width)[0] == wj]
        bias = torch.stack(
            [
                table[(yi - place(a, height)[1] + window - 1) * (2 * window - 1) + xj - place(b, width)[1] + window - 1]
                - (0 if (place(a, height)[2], place(b, width)[2]) == (si, sj) else 100)
                for a, b in seen
            ],
            dim=-1,
        )
        expected = one_pair(layer, qkv[i, j], torch.stack([qkv[a, b] for a, b in seen]), bias)
        torch.testing.assert_close(output[0, i, j], expected)


@pytest.mark.parametrize("size", [(9, 6), (3, 8), (2, 2)])
def test_a_neighbourhood_larger_than_the_map_sees_zeros_below_and_right(size: tuple[int, int]) -> None:
    kernel, heads = 5, 2
    layer = filled(NeighborhoodAttention(8, heads, kernel))
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    height, width = (max(side, kernel) for side in size)
    padded = F.pad(x, (0, 0, 0, width - size[1], 0, height - size[0]))
    qkv = layer.get_submodule("qkv")(padded)[0]
    table = layer.get_parameter("rpb")
    output = layer(x)
    for i, j in [(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 2)]:
        top = min(max(i - kernel // 2, 0), height - kernel)
        left = min(max(j - kernel // 2, 0), width - kernel)
        seen = [(a, b) for a in range(top, top + kernel) for b in range(left, left + kernel)]
        bias = torch.stack([table[:, a - i + kernel - 1, b - j + kernel - 1] for a, b in seen], dim=-1)
        expected = one_pair(layer, qkv[i, j], torch.stack([qkv[a, b] for a, b in seen]), bias)
        torch.testing.assert_close(output[0, i, j], expected)


def test_padded_maps_keep_the_precision_of_autocast() -> None:
    layer = WindowAttention(8, 2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {layer(torch.randn(1, side, 8, 8)).dtype for side in (8, 7)} == {torch.bfloat16}


@pytest.mark.parametrize(
    "build",
    [
        lambda: WindowAttention(10, 3),
        lambda: NeighborhoodAttention(10, 3),
        lambda: NeighborhoodAttention(8, 2, kernel=4),
        lambda: DeformableAttention(12, 4, 3, (7, 7)),
        lambda: DeformableAttention(10, 4, 2, (7, 7)),
    ],
)
def test_heads_groups_and_kernels_that_do_not_fit_are_errors(build: type) -> None:
    with pytest.raises(ModelError, match=r"do not divide|odd"):
        build()
