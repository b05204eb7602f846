"""What only training in float32 on a CPU does: parts that fit a cache, large maps by keys, gradients of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.utils.checkpoint import checkpoint

from dat_cli.models import create_model
from dat_cli.models.layers import Mlp
from dat_cli.ops import deformable, onednn, reference
from dat_cli.ops.deformable import deformable_attention
from dat_cli.ops.linear import gradient_of_weight, product_onto
from dat_cli.ops.points import query_points

needs_onednn = pytest.mark.skipif(not onednn._IS_HERE, reason="PyTorch without oneDNN, or another processor")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"])
def _products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of weights as processors of either kind make them."""
    monkeypatch.setattr("dat_cli.ops.linear._BY_ONEDNN", request.param)


def result_and_gradients(compute: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor | None]:
    wanted = [each for each in inputs if each.requires_grad]
    result = compute(*inputs)
    weight = torch.linspace(-1, 1, result.numel()).view(result.shape)
    return [result.detach(), *torch.autograd.grad((result * weight).sum(), wanted, allow_unused=True)]


@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("part", [1, 100, 2**20])
@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (7, 6), (6,), (0, 6)])
@pytest.mark.parametrize("frozen", [(), (0,), (1, 2), (3, 4), (1, 2, 3, 4)])
def test_an_mlp_in_parts_is_the_plain_arithmetic(
    frozen: tuple[int, ...], shape: tuple[int, ...], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.ops.mlp.PART", part)
    layer = Mlp(6)
    inputs = [torch.randn(shape), *layer.parameters()]
    for index, each in enumerate(inputs):
        each.requires_grad_(index not in frozen)

    def compute(x: Tensor, *_: Tensor) -> Tensor:
        return layer(x)

    with reference():
        plain = result_and_gradients(compute, inputs)
    torch.testing.assert_close(result_and_gradients(compute, inputs), plain)


@needs_onednn
def test_of_the_hidden_map_of_an_mlp_one_is_kept() -> None:
    layer, x = Mlp(6), torch.randn(2, 3, 5, 6, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x).mul_(2)
    parameters = {each.data_ptr() for each in layer.parameters()}
    assert sum(each.numel() for each in kept if each.data_ptr() not in parameters) == (1 + 4) * x.numel()


@needs_onednn
def test_what_is_frozen_costs_no_products(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Mlp(6).requires_grad_(False), torch.randn(2, 3, 5, 6, requires_grad=True)
    made: list[object] = []
    monkeypatch.setattr("dat_cli.ops.mlp.gradient_of_weight", lambda *tensors: made.append(tensors))
    layer(x).sum().backward()
    assert not made
    assert x.grad is not None


def test_a_layer_without_a_bias_learns() -> None:
    layer, x = Mlp(6), torch.randn(4, 6)
    layer.up.register_parameter("bias", None)
    with reference():
        plain = result_and_gradients(lambda x, *_: layer(x), [x, *layer.parameters()])
    torch.testing.assert_close(result_and_gradients(lambda x, *_: layer(x), [x, *layer.parameters()]), plain)


@pytest.mark.usefixtures("_products")
def test_several_gradients_can_be_asked_for_at_once() -> None:
    layer, x = Mlp(6), torch.randn(4, 6)
    with reference():
        plain = jacobian(layer, x)
    torch.testing.assert_close(jacobian(layer, x, vectorize=True), plain)


def test_who_looks_at_a_gradient_inside_an_mlp_sees_it() -> None:
    layer, x = Mlp(6), torch.randn(4, 6, requires_grad=True)
    plain = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 6))
    plain.load_state_dict(dict(zip(plain.state_dict(), layer.state_dict().values(), strict=True)))
    seen: list[Tensor] = []

    def look(_module: nn.Module, _to_in: object, to_out: tuple[Tensor, ...] | Tensor) -> None:
        seen.append(to_out[0])

    for first, whole in ((plain[0], plain), (layer.up, layer)):
        first.register_full_backward_hook(look)
        whole(x).square().sum().backward()
    torch.testing.assert_close(seen[1], seen[0])


@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_can_be_derived_once_more(bias: bool) -> None:
    layer = Mlp(6)
    if not bias:
        layer.up.register_parameter("bias", None)
    inputs = [torch.randn(4, 6, requires_grad=True), *layer.parameters()]

    def twice(x: Tensor, *_: Tensor) -> Tensor:
        (to_x,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        return to_x

    with reference():
        plain = result_and_gradients(twice, inputs)
    torch.testing.assert_close(result_and_gradients(twice, inputs), plain)


def test_a_part_that_is_computed_again_in_the_backward_gives_the_same() -> None:
    layer = Mlp(6)
    inputs = [torch.randn(4, 6, requires_grad=True), *layer.parameters()]
    plain = result_and_gradients(lambda x, *_: layer(x), inputs)
    again = result_and_gradients(lambda x, *_: checkpoint(layer, x, use_reentrant=False), inputs)
    torch.testing.assert_close(again, plain)


@needs_onednn
@pytest.mark.parametrize(("rows", "width", "out"), [(1, 1, 1), (50, 3, 40), (50, 40, 3), (4, 60, 240), (300, 12, 48)])
def test_gradients_of_weights_by_either_library_are_the_same(
    rows: int, width: int, out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []

    def multiply(*arguments: Any, **options: Any) -> Tensor:
        called.append(True)
        return compute(*arguments, **options)

    compute = onednn.linear
    monkeypatch.setattr(onednn, "linear", multiply)
    monkeypatch.setattr("dat_cli.ops.linear._BY_ONEDNN", True)
    for gradient in (torch.randn(rows, out), torch.randn(out, rows).t(), torch.randn(out).expand(rows, -1)):
        for x in (torch.randn(rows, width), torch.randn(rows, 2 * width)[:, ::2]):
            found = gradient_of_weight(gradient, x)
            torch.testing.assert_close(found, gradient.t() @ x, rtol=1e-5, atol=1e-4)
            assert found.is_contiguous()
    assert len(called) == 6


@pytest.mark.usefixtures("_products")
@pytest.mark.parametrize("name", ["dat_tiny", "dat_pp_tiny"])
def test_a_network_learns_what_the_plain_arithmetic_would(name: str) -> None:
    network = create_model(name, num_classes=5, img_size=64).train()
    inputs = [torch.randn(2, 3, 64, 96), *network.parameters()]

    def compute(x: Tensor, *_: Tensor) -> Tensor:
        return network(x)

    with reference():
        plain = result_and_gradients(compute, inputs)
    torch.testing.assert_close(result_and_gradients(compute, inputs), plain, rtol=1e-3, atol=1e-4)


@pytest.fixture(params=[15, 40])  # of 5 rows, bands of 1, or 3 and 2, with one thread; of 2, 2 and 1, or 5, with two
def keywise(
    request: pytest.FixtureRequest, small_maps_keywise: list[bool], monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """Small maps are attended as large ones are, in several blocks."""
    monkeypatch.setattr("dat_cli.ops.keywise.bias._STEPS", 100)
    monkeypatch.setattr("dat_cli.ops.keywise.group._KEYS", 3)
    monkeypatch.setattr("dat_cli.ops.keywise.group._MOST_KEYS", 3)
    monkeypatch.setattr("dat_cli.ops.keywise.group._PAIRS", request.param)
    return small_maps_keywise


def pairs(table: tuple[int, int], frozen: tuple[int, ...] = ()) -> list[Tensor]:
    """Queries, keys, values, table and positions, some of which are beyond the table."""
    query, key, value = torch.randn(2, 5, 4, 6, 8), torch.randn(2, 7, 6, 8), torch.randn(2, 7, 6, 8)
    inputs = [query, key, value, torch.randn(6, *table), torch.rand(2, 3, 7, 2) * 4 - 2]
    return [each.requires_grad_(index not in frozen) for index, each in enumerate(inputs)]


def attended(query: Tensor, key: Tensor, value: Tensor, table: Tensor, positions: Tensor) -> Tensor:
    grid = query_points(query.shape[1], query.shape[2], "dat_pp", like=query.new_zeros(()))
    return deformable_attention(query, key, value, table, grid, positions)


@pytest.mark.parametrize("table", [(9, 7), (3, 11), (19, 2), (1, 1)])
@pytest.mark.parametrize("frozen", [(), (3,), (0, 4), (0, 1, 2, 3)])
def test_large_maps_learn_by_keys(frozen: tuple[int, ...], table: tuple[int, int], keywise: list[bool]) -> None:
    inputs = pairs(table, frozen)
    with reference():
        plain = result_and_gradients(attended, inputs)
    torch.testing.assert_close(result_and_gradients(attended, inputs), plain, rtol=1e-4, atol=1e-5)
    assert keywise == [True] * 6


@pytest.mark.parametrize("width", [5, 7])  # of 7, cells are no binary fractions, and rounding decides on which side
def test_positions_on_cells_move_as_in_sampling(
    width: int, keywise: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = (torch.randn(1, *shape, 2, 8, requires_grad=True) for shape in ((5, width), (6,), (6,)))
    table = torch.randn(2, 9, 2 * width - 1)
    if width == 7:  # both sides are as steep
        table = torch.linspace(-2, 2, 2 * width - 1).expand(2, 9, -1).clone()
    x = torch.linspace(-1, 1, width)[torch.randint(1, width - 1, (1, 2, 6))]
    positions = torch.stack([torch.randint(-1, 2, (1, 2, 6)) / 2, x], dim=-1).requires_grad_()
    inputs = [query, key, value, table.requires_grad_(), positions]
    by_keys = result_and_gradients(attended, inputs)
    assert keywise == [True] * 2
    monkeypatch.setattr("dat_cli.ops.keywise.attention._LARGE", 2**40)
    by_pairs = result_and_gradients(attended, inputs)
    if width == 7:
        by_keys[-1], by_pairs[-1] = (cast("Tensor", found[-1])[..., 1] for found in (by_keys, by_pairs))
    torch.testing.assert_close(by_keys, by_pairs, rtol=1e-4, atol=1e-5)
    assert len(keywise) == 2


@pytest.mark.parametrize("default", [torch.float16, torch.float64, torch.device("meta")])
def test_large_maps_learn_the_same_whatever_new_tensors_are_by_default(
    default: torch.dtype | torch.device, keywise: list[bool]
) -> None:
    inputs = pairs((9, 7))
    weights = torch.randn(2, 5, 4, 6, 8)
    expected = torch.autograd.grad(attended(*inputs), inputs, weights)
    dtype = torch.get_default_dtype()
    try:
        if isinstance(default, torch.device):
            torch.set_default_device(default)
        else:
            torch.set_default_dtype(default)
        found = torch.autograd.grad(attended(*inputs), inputs, weights)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert keywise == [True] * 12


def test_scores_whose_powers_overflow_learn_by_pairs(keywise: list[bool]) -> None:
    inputs = pairs((9, 7))
    with torch.no_grad():
        inputs[0][:, :, :, 2:] *= 200
    with reference():
        plain = result_and_gradients(attended, inputs)
    torch.testing.assert_close(result_and_gradients(attended, inputs), plain, rtol=1e-3, atol=1e-2)
    assert keywise == [True, False, False] * 2


def test_what_is_not_safe_by_keys_learns_in_parts(keywise: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    attend = deformable._attend

    def count(part: deformable._Pairs) -> Tensor:
        parts.append(part.number)
        return attend(part)

    inputs = pairs((9, 7))
    with torch.no_grad():
        inputs[0].mul_(200)
    monkeypatch.setattr(deformable, "_PAIRS", 100)
    monkeypatch.setattr(deformable, "_attend", count)
    attended(*inputs).sum().backward()
    assert max(parts) <= 100
    assert not any(keywise)


@pytest.mark.parametrize("scale", [1, 8])
def test_the_backward_of_large_maps_is_exact_under_autocast(scale: float, keywise: list[bool]) -> None:
    inputs = pairs((9, 7))
    result = attended(*[each * scale if index == 0 else each for index, each in enumerate(inputs)])
    weight = torch.linspace(-1, 1, result.numel()).view(result.shape)
    plain = torch.autograd.grad(result, inputs, weight, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(result, inputs, weight)
    torch.testing.assert_close(found, plain)
    assert keywise == [True] * 6


def test_large_maps_can_be_derived_once_more_and_for_several_gradients(keywise: list[bool]) -> None:
    inputs = pairs((9, 7))

    def twice(*inputs: Tensor) -> Tensor:
        found = torch.autograd.grad(attended(*inputs).square().sum(), inputs, create_graph=True)
        return torch.cat([each.flatten() for each in found])

    def several(*inputs: Tensor) -> Tensor:
        result = attended(*inputs)
        weights = torch.linspace(-1, 1, 3 * result.numel()).view(3, *result.shape)
        (found,) = torch.autograd.grad(result, inputs[4], weights, is_grads_batched=True)
        return found

    with reference():
        plain = result_and_gradients(twice, inputs), several(*inputs)
    found = result_and_gradients(twice, inputs), several(*inputs)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)
    assert keywise == [True] * 12


def test_what_large_maps_keep_does_not_grow_with_pairs(keywise: list[bool]) -> None:
    inputs = pairs((9, 7))
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attended(*inputs)
    query, key = inputs[:2]
    assert max(each.numel() for each in kept) <= max(query[0, ..., :2, :].numel(), key[0, :, :2].numel())
    assert keywise == [True] * 6


@pytest.mark.parametrize("here", [True, False])
def test_a_product_is_added_to_what_there_is(here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    onto, x, weight = torch.randn(5, 7), torch.randn(5, 3), torch.randn(3, 7).t()
    monkeypatch.setattr(onednn, "_IS_HERE", here and onednn._IS_HERE)
    torch.testing.assert_close(product_onto(onto, x, weight), onto + x @ weight.t())
