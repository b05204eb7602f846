"""What inference keeps between calls: for as long as tables say the same, or while weights are constant."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.models.deformable import SamplingPoints
from dat_cli.models.layers import Conv, DepthwiseConv, DepthwiseResidual, Linear, Mlp
from dat_cli.ops import constant_weights, kept, onednn, reference
from dat_cli.ops.linear import linear
from dat_cli.ops.neighborhood import neighborhood_attention
from dat_cli.ops.points import reference_points

Weighted = tuple[Tensor, Callable[[], Tensor]]
"""A weight, and a call of what it is the weight of."""


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def _change(weight: Tensor, how: str) -> None:
    with torch.no_grad():
        if how == "in_place":
            weight.mul_(-2)
        elif how == "data":
            weight.data.flatten()[2] += 3
        elif how == "optimizer":
            weight.grad = torch.arange(1.0, 1 + weight.numel()).view_as(weight)
            torch.optim.SGD([weight], lr=0.1).step()
        else:
            weight.data = weight.data.flip(0) + 1


def _bias() -> Weighted:
    table = nn.Parameter(torch.randn(2, 5, 5))
    query, key, value = torch.randn(3, 1, 6, 6, 2, 4)
    return table, lambda: neighborhood_attention(query, key, value, table, kernel=3)


def _filters() -> Weighted:
    convolution, x = DepthwiseConv(8, 5, 2), torch.randn(1, 6, 6, 16)
    return convolution.weight, lambda: cast("Tensor", convolution(x))


def _sum() -> Weighted:
    convolution, x = DepthwiseResidual(8), torch.randn(1, 6, 6, 8)
    return convolution.weight, lambda: cast("Tensor", convolution(x, gelu=True))


def _product() -> Weighted:
    layer, x = Linear(64, 48), torch.randn(50, 64)
    return layer.weight, lambda: cast("Tensor", layer(x))


def _convolution() -> Weighted:
    convolution, x = Conv(4, 6, 3, 2, 1), torch.randn(1, 4, 6, 6)
    return convolution.weight, lambda: cast("Tensor", convolution(x))


WEIGHTS = [_bias, _filters, _sum, _product, _convolution]


@torch.inference_mode()
def _both(call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    with reference():
        plain = call()
    return call(), plain


@pytest.mark.parametrize("of", WEIGHTS)
@pytest.mark.parametrize("how", ["in_place", "data", "optimizer", "replaced"])
def test_a_weight_that_changes_in_any_way_gives_a_new_result(how: str, of: Callable[[], Weighted]) -> None:
    weight, call = of()
    first, plain = _both(call)
    torch.testing.assert_close(first, plain)
    assert torch.equal(_both(call)[0], first)
    _change(weight, how)
    second, plain = _both(call)
    torch.testing.assert_close(second, plain, rtol=1e-5, atol=1e-5)  # the optimizer makes some weights large
    assert not torch.allclose(second, first, atol=1e-3)


@pytest.mark.parametrize("of", WEIGHTS)
def test_constant_weights_are_looked_at_once(of: Callable[[], Weighted]) -> None:
    weight, call = of()
    _both(call)
    _change(weight, "in_place")  # what was kept before the block is old
    with constant_weights():
        first, plain = _both(call)
        torch.testing.assert_close(first, plain)
        before = weight.detach().clone()
        _change(weight, "in_place")
        with constant_weights():
            second, plain = _both(call)
        if onednn._IS_HERE or of is _bias:
            torch.testing.assert_close(second, first)
            assert not torch.allclose(second, plain, atol=1e-3)
        _, call_beside = of()  # another one, with weights of its own
        torch.testing.assert_close(*_both(call_beside))
        assert not torch.equal(weight, before)
    torch.testing.assert_close(*_both(call))
    assert kept._of_constant is None


def test_constant_weights_end_with_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), constant_weights():
        raise KeyboardInterrupt
    assert kept._of_constant is None


def test_a_weight_that_learns_is_never_constant() -> None:
    mlp, x = Mlp(16, depthwise=True), torch.randn(2, 5, 5, 16, requires_grad=True)
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.5)
    with constant_weights():
        for _ in range(3):
            learned = mlp(x)
            with reference():
                plain = mlp(x)
            torch.testing.assert_close(learned, plain)
            wanted = (x, *mlp.parameters())
            of_learned, of_plain = (torch.autograd.grad(y.square().mean(), wanted) for y in (learned, plain))
            torch.testing.assert_close(of_learned, of_plain)
            for parameter, gradient in zip(mlp.parameters(), of_plain[1:], strict=True):
                parameter.grad = gradient
            optimizer.step()


def test_weights_are_constant_until_the_last_block_is_left() -> None:
    first, second = constant_weights(), constant_weights()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert kept._of_constant is not None
    second.__exit__(None, None, None)
    assert kept._of_constant is None


def test_threads_may_keep_at_once() -> None:
    table = nn.Parameter(torch.randn(4))

    def keep(number: int) -> list[Tensor]:
        return [kept.kept_by_table(torch.mul, table, (number + i) % 5, beside=table) for i in range(3000)]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with constant_weights(), torch.no_grad(), ThreadPoolExecutor(4) as threads:
            of_threads = list(threads.map(keep, range(4)))
    finally:
        sys.setswitchinterval(before)
    for number, results in enumerate(of_threads):
        assert all(torch.equal(each, table * ((number + i) % 5)) for i, each in enumerate(results))


@pytest.mark.parametrize("size", [(0, 8), (8, 0)])
def test_a_layer_without_weights_is_no_error(size: tuple[int, int]) -> None:
    layer, x = Linear(*size), torch.randn(3, size[0])
    with constant_weights():
        torch.testing.assert_close(*_both(lambda: cast("Tensor", layer(x))))


def test_what_is_computed_is_no_constant() -> None:
    layer = nn.utils.parametrizations.weight_norm(Linear(8, 8))
    with constant_weights(), torch.no_grad():
        for _ in range(3):
            layer(torch.randn(2, 8))
        assert not kept._of_constant


def test_what_is_compiled_may_have_constant_weights() -> None:
    mlp, x = Mlp(16, depthwise=True), torch.randn(2, 5, 5, 16)
    compiled = torch.compile(mlp, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        plain = mlp(x)
        torch.testing.assert_close(compiled(x), plain)
        with constant_weights():
            torch.testing.assert_close(compiled(x), plain)
            torch.testing.assert_close(compiled(x), plain)
        mlp.up.weight.mul_(2)
        torch.testing.assert_close(compiled(x), mlp(x))


def test_other_memory_at_the_same_place_is_another_weight() -> None:
    x = torch.randn(50, 64)
    with constant_weights(), torch.inference_mode():
        for _ in range(20):
            weight = nn.Parameter(torch.randn(48, 64))
            torch.testing.assert_close(linear(x, weight, None), F.linear(x, weight))
            weight.data = torch.randn(48, 64)
            torch.testing.assert_close(linear(x, weight, None), F.linear(x, weight))
            del weight


def test_a_kept_bias_follows_the_size_and_goes_with_its_table() -> None:
    table = torch.randn(2, 5, 5)
    for size in ((6, 6), (9, 4), (7, 5), (4, 9), (6, 6)):
        query, key, value = torch.randn(3, 1, *size, 2, 4)
        with reference():
            plain = neighborhood_attention(query, key, value, table, kernel=3)
        torch.testing.assert_close(neighborhood_attention(query, key, value, table, kernel=3), plain)
        assert len(kept._of_table[table][1]) <= 3
    key = next(each for each in kept._of_table.data if each() is table)
    del table
    assert key not in kept._of_table.data


def test_points_that_are_given_out_may_be_written_to() -> None:
    points = SamplingPoints(8, 1, 1, 3, -1.0, "dat_pp")
    query = torch.randn(1, 6, 6, 8)
    with torch.inference_mode():
        before = points(query)
        points.reference(points.offsets(query)).zero_()
        assert torch.equal(points(query), before)


def test_what_inference_kept_is_of_use_in_training() -> None:
    frozen = torch.randn(2, 5, 5)
    query = torch.randn(1, 6, 6, 2, 4)
    with torch.inference_mode():
        neighborhood_attention(query, query, query, frozen, kernel=3)
        kept_points = reference_points(6, 6, "dat_pp", like=query)
    assert not kept_points.is_inference()
    trained = query.clone().requires_grad_()
    neighborhood_attention(trained, trained, trained, frozen, kernel=3).sum().backward()
    assert cast("Tensor", trained.grad).abs().sum() > 0
    offsets = torch.zeros(1, 6, 6, 2, requires_grad=True)
    ((kept_points + offsets) * kept_points).sum().backward()
    assert torch.equal(cast("Tensor", offsets.grad)[0], kept_points)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library has other ways")
def test_memory_that_was_freed_is_given_out_again() -> None:
    script = """
import resource, torch
from dat_cli.ops import constant_weights
with constant_weights():
    pass
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    maps = [torch.ones(5 * 2**20) for _ in range(3)]  # 20 MiB each
    del maps
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    # In one process of ten, what else lies in memory decides, this way or the other.
    pages = [
        int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(5)
    ]
    assert median(pages) < 1000  # of 15,360
