"""Each fast path against the plain arithmetic beside it, in double precision, gradients included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name
from torch.utils._python_dispatch import TorchDispatchMode

from dat_cli.catalog import Generation
from dat_cli.ops import reference
from dat_cli.ops.bilinear import bilinear_sample
from dat_cli.ops.deformable import deformable_attention
from dat_cli.ops.depthwise import add_depthwise_conv, depthwise_conv, depthwise_conv_reference, unrolled_conv
from dat_cli.ops.linear import linear, linear_gelu
from dat_cli.ops.neighborhood import neighborhood_attention
from dat_cli.ops.points import query_points, reference_points
from dat_cli.ops.position_bias import deformable_bias, gathered_bias, separable_bias


def gradients(compute: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradients of a weighted sum of it."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    result = compute(*leaves)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    (result * weights).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def both(compute: Callable[..., Tensor], *inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients by the fast path and by the plain one."""
    with reference():
        plain = gradients(compute, *inputs)
    return gradients(compute, *inputs), plain


def double(*shape: int, low: float = -1, high: float = 1) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64) * (high - low) + low


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_bilinear_sampling_is_the_weighted_sum_of_four_cells() -> None:
    # Positions beyond the map sample zeros, and partly so within a cell of its border.
    fast, plain = both(bilinear_sample, double(2, 3, 5, 7), *(double(2, 4, 6, low=-1.6, high=1.6) for _ in range(2)))
    torch.testing.assert_close(fast, plain)


def test_a_map_of_one_cell_gives_it_everywhere() -> None:
    for plain in (False, True):
        with reference(plain):
            sampled = bilinear_sample(
                torch.full((1, 2, 1, 1), 3.0), torch.tensor([[[-1.0, 1.0]]]), torch.tensor([[[0.3, 0.0]]])
            )
        assert torch.equal(sampled, torch.full((1, 2, 1, 2), 3.0))


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("size", [(7, 7), (7, 20), (9, 13), (14, 8), (15, 22)])
def test_tiles_attend_to_the_neighbourhood_of_each_query(kernel: int, size: tuple[int, int]) -> None:
    query, key, value = (double(2, *size, 3, 4) for _ in range(3))
    table = double(3, 2 * kernel - 1, 2 * kernel - 1)
    fast, plain = both(partial(neighborhood_attention, kernel=kernel), query, key, value, table)
    torch.testing.assert_close(fast, plain)


def test_every_query_has_its_square_of_neighbours_even_at_the_border() -> None:
    # With equal scores the output is the mean over the neighbours: that of the corner's 3 x 3 block at the corner.
    value = torch.arange(25.0).view(1, 5, 5, 1, 1)
    flat = torch.zeros_like(value)
    attended = neighborhood_attention(flat, flat, value, torch.zeros(1, 5, 5), kernel=3)
    assert attended[0, 0, 0].item() == pytest.approx(value[0, :3, :3].mean().item())
    assert attended[0, 2, 3].item() == pytest.approx(value[0, 1:4, 2:5].mean().item())
    assert attended[0, 4, 4].item() == pytest.approx(value[0, 2:, 2:].mean().item())


@pytest.mark.parametrize("generation", get_args(Generation))
def test_deformable_attention_is_the_plain_one(generation: Generation) -> None:
    query, key, value = double(2, 5, 6, 4, 8), double(2, 9, 4, 8), double(2, 9, 4, 8)
    table, positions = double(4, 9, 11), double(2, 2, 9, 2, low=-1.3, high=1.3)
    grid = query_points(5, 6, generation, like=query)

    def attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, positions: Tensor) -> Tensor:
        return deformable_attention(query, key, value, table, grid, positions)

    fast, plain = both(attend, query, key, value, table, positions)
    torch.testing.assert_close(fast, plain)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_bias_by_products_stays_exact_in_mixed_precision(compiled: bool) -> None:
    table, positions = double(4, 9, 11).float(), double(3, 2, 7, 2).float()
    grid = query_points(5, 6, "dat", like=table)
    sampled = gradients(lambda table, positions: deformable_bias(table, grid, positions), table, positions)
    # The compiler derives in the precision that holds around what it compiles.
    by_products = torch.compile(separable_bias, backend="aot_eager", fullgraph=True) if compiled else separable_bias

    def look_up(table: Tensor, positions: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return by_products(table, grid, positions, torch.float32)

    products = gradients(look_up, table, positions)
    torch.testing.assert_close(products, sampled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("x", [(5,), (3, 5), (2, 3, 4, 5), (0, 5)])
def test_a_linear_layer_by_the_processor_s_own_library_is_torch_s(x: tuple[int, ...]) -> None:
    inputs = (torch.randn(x), torch.randn(6, 5), torch.randn(6))
    torch.testing.assert_close(gradients(linear, *inputs), gradients(F.linear, *inputs))
    with torch.no_grad():
        torch.testing.assert_close(linear_gelu(*inputs), F.gelu(F.linear(*inputs)))
        filters = torch.randn(6, 1, 3, 3)
        maps = torch.randn(2, 7, 5, 6)
        plain = F.gelu(maps + depthwise_conv_reference(maps, filters, inputs[2], 1, 1))
        torch.testing.assert_close(add_depthwise_conv(maps, filters, inputs[2], gelu=True), plain)


def test_attending_in_parts_changes_nothing_and_never_holds_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = double(2, 12, 6, 4, 8), double(2, 9, 4, 8), double(2, 9, 4, 8)
    table, positions = double(4, 23, 11), double(2, 2, 9, 2)
    grid = query_points(12, 6, "dat_pp", like=query)

    def attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor, positions: Tensor) -> Tensor:
        return deformable_attention(query, key, value, table, grid, positions)

    pairs = 2 * 4 * 12 * 6 * 9
    with LargestTensor() as at_once:
        whole = gradients(attend, query, key, value, table, positions)
    assert at_once.elements >= pairs
    monkeypatch.setattr("dat_cli.ops.deformable._PAIRS", pairs // 4)
    with LargestTensor() as in_parts:
        parts = gradients(attend, query, key, value, table, positions)
    assert in_parts.elements < pairs  # forward and backward
    torch.testing.assert_close(parts, whole)


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor holds that is computed meanwhile."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch gives it no types
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        self.elements = max([self.elements, *(each.numel() for each in made if isinstance(each, Tensor))])
        return result


def test_the_bias_is_looked_up_by_half_the_displacement() -> None:
    # A query a whole map below and left of its key is at the table's last row and first column.
    table = torch.arange(9.0).view(1, 3, 3)
    side = torch.tensor([-1.0, 0.0, 1.0])
    key = torch.tensor([[[[-1.0, 1.0]]]])
    bias = deformable_bias(table, (side, side), key).view(3, 3)
    assert bias[2, 0] == table[0, 2, 0]
    assert bias[1, 1] == table[0, 1:, :2].mean()


@pytest.mark.parametrize("generation", get_args(Generation))
def test_the_bias_by_products_is_the_sampled_one(generation: Generation) -> None:
    table, positions = double(4, 9, 11), double(3, 2, 7, 2, low=-1.6, high=1.6)
    grid = query_points(5, 6, generation, like=table)
    sampled = gradients(lambda table, positions: deformable_bias(table, grid, positions), table, positions)
    products = gradients(lambda table, positions: separable_bias(table, grid, positions, table.dtype), table, positions)
    torch.testing.assert_close(products, sampled)
    few = (table[:2, :3, :3].clone().requires_grad_(), positions[:1, :1, :2].clone().requires_grad_())
    assert torch.autograd.gradgradcheck(
        lambda *inputs: separable_bias(inputs[0], grid, inputs[1], inputs[0].dtype), few
    )


def test_by_products_a_key_between_two_slopes_moves_to_the_side_that_sampling_takes() -> None:
    # Before training nothing has moved, and every pair meets on a cell of the table.
    table, side = double(2, 5, 5), torch.linspace(-1, 1, 3, dtype=torch.float64)
    positions = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1).view(1, 1, 9, 2).requires_grad_()
    sampled = gradients(lambda table, at: deformable_bias(table, (side, side), at), table, positions)
    products = gradients(lambda table, at: separable_bias(table, (side, side), at, at.dtype), table, positions)
    torch.testing.assert_close(products, sampled)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (5, 2, 2), (9, 8, 4), (8, 8, 0)])
def test_depthwise_convolution_is_the_library_s(kernel: int, stride: int, padding: int) -> None:
    x, weight, bias = double(2, 17, 24, 4), double(4, 1, kernel, kernel), double(4)
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, padding, groups=4).permute(0, 2, 3, 1)
    torch.testing.assert_close(depthwise_conv_reference(x, weight, bias, stride, padding), expected)


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_compiled_convolution_keeps_to_its_padding(padding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dat_cli.ops.circumstances._NO_GPUS", ())
    x, weight = torch.randn(1, 5, 4, 3), torch.randn(3, 1, 3, 3)
    compiled = torch.compile(depthwise_conv, backend="aot_eager", fullgraph=True)(x, weight, None, 1, padding)
    expected = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=padding, groups=3).permute(0, 2, 3, 1)
    torch.testing.assert_close(compiled, expected)


def test_the_unrolled_convolution_is_the_library_s() -> None:
    inputs = (double(2, 5, 4, 3), double(3, 1, 3, 3), double(3))

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=3).permute(0, 2, 3, 1)

    torch.testing.assert_close(gradients(unrolled_conv, *inputs), gradients(convolve, *inputs))
    assert torch.autograd.gradgradcheck(
        unrolled_conv,
        [each[:1].clone().requires_grad_() for each in inputs[:1]]
        + [each.clone().requires_grad_() for each in inputs[1:]],
    )


@pytest.mark.parametrize("generation", get_args(Generation))
def test_the_bias_cell_by_cell_is_the_sampled_one(generation: Generation) -> None:
    # Some keys stand on cells, some so far away that they see nothing of the table.
    table, positions = double(4, 9, 11), double(3, 2, 7, 2, low=-3, high=3)
    positions[:, :, 0], positions[:, :, 1], positions[:, :, 2] = -1, 0, 1
    grid = query_points(5, 6, generation, like=table)
    positions.requires_grad_()
    sampled = deformable_bias(table, grid, positions)
    bias, down, across = gathered_bias(table, grid, positions)
    torch.testing.assert_close(bias, sampled)
    weights = torch.linspace(-1, 1, bias.numel(), dtype=bias.dtype).view(bias.shape)
    (expected,) = torch.autograd.grad((sampled * weights).sum(), positions)
    found = [(weights * each).unflatten(1, (2, -1)).sum(dim=(2, 3)) for each in (down, across)]
    torch.testing.assert_close(torch.stack(found, dim=-1), expected)
    assert gathered_bias(table, grid, positions * float("nan"))[0].isnan().all()  # but not a cell that is not there


def test_what_the_compiler_makes_of_calls_of_their_own_gives_the_same() -> None:
    # For inference: the default backend has rules of its own for oneDNN's functions and for sampling.
    x, weight, filters = torch.randn(1, 6, 6, 8), torch.randn(8, 8), torch.randn(8, 1, 3, 3)
    weight, filters, shared = weight / 3, filters / 3, torch.randn(4, 1, 5, 5) / 5

    def compute(x: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
        x = depthwise_conv(x + 1, shared, None, padding=2)
        x = add_depthwise_conv(linear_gelu(linear(x, weight, None), weight, None), filters, None, gelu=True)
        return bilinear_sample(x.permute(0, 3, 1, 2), x[..., 0].tanh(), x[..., 1].tanh())

    with torch.no_grad():
        compiled = torch.compile(compute, fullgraph=True)(x, weight, filters)
        torch.testing.assert_close(compiled, compute(x, weight, filters))


def test_reference_points_are_those_of_each_generation() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert reference_points(2, 4, "dat", like)[1, 0].tolist() == [0.5, -0.75]
    assert reference_points(2, 3, "dat_pp", like)[0, 1].tolist() == [0.0, 0.5]
    assert [axis.tolist() for axis in query_points(3, 2, "dat_pp", like)] == [[-1.0, 0.0, 1.0], [-1.0, 1.0]]
    assert [axis.tolist() for axis in query_points(2, 1, "dat", like)] == [[-0.5, 0.5], [0.0]]
    assert reference_points(1, 1, "dat_pp", like).tolist() == [[[0.0, 0.0]]]
    assert [axis.tolist() for axis in query_points(1, 1, "dat_pp", like)] == [[0.0], [0.0]]


def test_neighbourhoods_of_several_sizes_compile_whole() -> None:
    # From the second size on, the compiler takes sizes for symbols.
    compiled = torch.compile(partial(neighborhood_attention, kernel=5), fullgraph=True, backend="aot_eager")
    table = double(2, 9, 9)
    for size in ((12, 12), (25, 9), (30, 26), (7, 31)):
        query, key, value = (double(1, *size, 2, 4) for _ in range(3))
        torch.testing.assert_close(
            compiled(query, key, value, table), neighborhood_attention(query, key, value, table, kernel=5)
        )
