"""What only inference in float32 on a CPU does: parts that fit a cache, and rows that are shared among threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.catalog import Generation
from dat_cli.models.layers import Conv, Mlp
from dat_cli.models.window import WindowAttention
from dat_cli.ops import constant_weights, reference
from dat_cli.ops.deformable import deformable_attention
from dat_cli.ops.linear import linear
from dat_cli.ops.neighborhood import neighborhood_attention
from dat_cli.ops.patches import patch_attention
from dat_cli.ops.points import query_points


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("most", [1, 100, 5000, 2**20])
@pytest.mark.parametrize("batch", [1, 3])
def test_deformable_attention_in_the_cache_is_the_plain_arithmetic(
    batch: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.ops.deformable.SCORES", most)
    query, key, value = torch.randn(batch, 6, 5, 6, 8), torch.randn(batch, 7, 6, 8), torch.randn(batch, 7, 6, 8)
    table, positions = torch.randn(6, 11, 9), torch.rand(batch, 3, 7, 2) * 2 - 1
    arguments = (query, key, value, table, query_points(6, 5, "dat_pp", like=positions), positions)
    with reference():
        plain = deformable_attention(*arguments)
    torch.testing.assert_close(deformable_attention(*arguments), plain)


@pytest.mark.parametrize("most", [1, 700, 2**20])
@pytest.mark.parametrize("kinds", [1, 3])
def test_attention_in_patches_takes_the_bias_of_each_kind(
    kinds: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.ops.patches.SCORES", most)
    # As layers give them: views with heads behind queries.
    query, key, value = (torch.randn(2, 5, cells, 3, 8).transpose(2, 3) for cells in (4, 6, 6))
    bias = torch.randn(kinds, 3, 4, 6)
    bias[..., 2].fill_(float("-inf"))
    before = bias.clone()
    which = torch.arange(5) % kinds
    scores = query @ key.transpose(-1, -2) / 8**0.5 + bias[which]
    torch.testing.assert_close(patch_attention(query, key, value, bias, which), scores.softmax(dim=-1) @ value)
    assert torch.equal(bias, before)
    query = query.clone().requires_grad_()  # another path
    torch.testing.assert_close(patch_attention(query, key, value, bias, which), scores.softmax(dim=-1) @ value)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("most", [1, 2**20])
@pytest.mark.parametrize("rows", [3, 7, 30])
@pytest.mark.parametrize(("batch", "groups"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_threads_that_share_a_map_see_the_same(
    batch: int, groups: int, rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.ops.deformable.SCORES", most)
    monkeypatch.setattr("dat_cli.ops.position_bias._WORTH", 1)
    query, key, value = torch.randn(batch, rows, 5, 4, 8), torch.randn(batch, 7, 4, 8), torch.randn(batch, 7, 4, 8)
    table, positions = torch.randn(4, 11, 9), torch.rand(batch, groups, 7, 2) * 3 - 1.5
    arguments = (query, key, value, table, query_points(rows, 5, "dat_pp", like=positions), positions)
    with reference():
        plain = deformable_attention(*arguments)
    torch.testing.assert_close(deformable_attention(*arguments), plain)
    torch.testing.assert_close(deformable_attention(*(query.requires_grad_(), *arguments[1:])), plain)  # another path


@pytest.fixture(params=["Shifted", "Stretched"])
def keywise(
    request: pytest.FixtureRequest, small_maps_keywise: list[bool], monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """Small maps are attended as large ones are, in either way."""
    monkeypatch.setattr("dat_cli.ops.keywise.bias._STEPS", 100 if request.param == "Shifted" else 0)
    return small_maps_keywise


def pairs(batch: int, groups: int, table: tuple[int, int], generation: Generation = "dat_pp") -> Sequence[Any]:
    """What deformable attention is given; many keys are far beyond the table."""
    query, key, value = torch.randn(batch, 6, 5, 6, 8), torch.randn(batch, 7, 6, 8), torch.randn(batch, 7, 6, 8)
    positions = torch.rand(batch, groups, 7, 2) * 8 - 4
    return query, key, value, torch.randn(6, *table), query_points(6, 5, generation, like=positions), positions


def plain_attention(arguments: Sequence[Any]) -> Tensor:
    with reference():
        return deformable_attention(*arguments)


@pytest.mark.parametrize("most", [1, 100, 2**20])
@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(("batch", "groups"), [(1, 1), (2, 3)])
def test_large_maps_are_attended_by_keys(
    batch: int, groups: int, size: int, most: int, keywise: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.ops.keywise.group._KEYS", size)
    monkeypatch.setattr("dat_cli.ops.keywise.group._MOST_KEYS", size)
    monkeypatch.setattr("dat_cli.ops.keywise.group._PAIRS", most)
    arguments = pairs(batch, groups, (11, 9))
    torch.testing.assert_close(deformable_attention(*arguments), plain_attention(arguments))
    assert keywise == [True] * batch * groups


@pytest.mark.parametrize("generation", ["dat", "dat_pp"])
@pytest.mark.parametrize("table", [(11, 9), (3, 9), (5, 3), (23, 13), (2, 40)])
def test_tables_of_any_size_are_looked_up_by_keys(
    table: tuple[int, int], generation: Generation, keywise: list[bool]
) -> None:
    arguments = pairs(2, 2, table, generation)
    torch.testing.assert_close(deformable_attention(*arguments), plain_attention(arguments))
    assert keywise == [True] * 4


@pytest.mark.parametrize("bias", [-200.0, 200.0, float("nan"), float("inf"), float("-inf")])
def test_scores_whose_powers_overflow_are_attended_by_pairs(bias: float, keywise: list[bool]) -> None:
    arguments = pairs(2, 2, (11, 9))
    arguments[5].div_(4)  # so that every query finds its keys in the table
    arguments[3][3:] += bias
    found = deformable_attention(*arguments)
    # Scores of 200 are as fine.
    torch.testing.assert_close(found, plain_attention(arguments), rtol=1e-3, atol=1e-4, equal_nan=True)
    assert keywise == [True, False] * 2


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("axis", [0, 1])
def test_positions_of_large_maps_may_be_no_numbers(axis: int, number: float, keywise: list[bool]) -> None:
    arguments = pairs(1, 2, (11, 9))
    arguments[5][0, 1, 3, axis] = number
    attended = deformable_attention(*arguments)
    assert attended[..., :3, :].isfinite().all()
    assert attended[..., 3:, :].isnan().all()
    assert keywise == [True, False]


def test_a_table_of_one_row_is_looked_up_too(keywise: list[bool], request: pytest.FixtureRequest) -> None:
    arguments = pairs(1, 1, (1, 3))
    torch.testing.assert_close(deformable_attention(*arguments), plain_attention(arguments))
    assert keywise == ([True] if "Shifted" in request.node.name else [])


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("made_for", [1, 5])  # times as large an image: whose table is stretched
def test_maps_are_attended_by_keys_where_they_are_large(
    made_for: int, training: bool, large: bool, keywise_calls: list[bool]
) -> None:
    size = 48 if large else 14
    query, key = torch.randn(1, size, size, 2, 8, requires_grad=training), torch.randn(1, size * size, 2, 8)
    table = torch.randn(2, *[2 * size // made_for - 1] * 2)
    positions = torch.rand(1, 1, size * size, 2) * 2 - 1
    points = query_points(size, size, "dat", like=positions)
    with nullcontext() if training else torch.inference_mode():
        deformable_attention(query, key, key, table, points, positions)
    assert keywise_calls == ([True] if large and not (training and made_for > 1) else [])


@pytest.mark.usefixtures("keywise")
def test_large_maps_of_no_images_are_none() -> None:
    assert deformable_attention(*pairs(0, 1, (11, 9))).shape == (0, 6, 5, 6, 8)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 4, 0), (3, 2, 1), (2, 2, 0)])
def test_convolutions_give_channels_last(kernel: int, stride: int, padding: int, batch: int, constant: bool) -> None:
    layer = Conv(3, 8, kernel, stride, padding)
    with constant_weights() if constant else nullcontext():
        for size in ((17, 12), (16, 16), (17, 12)):
            images = torch.randn(batch, 3, *size)
            plain = F.conv2d(images, layer.weight, layer.bias, stride, padding)
            for given in (images, images.contiguous(memory_format=torch.channels_last)):
                with torch.inference_mode():
                    found = layer(given)
                torch.testing.assert_close(found, plain)
                torch.testing.assert_close(layer(given), plain)  # another path
                assert not batch or found.is_contiguous(memory_format=torch.channels_last)


def test_an_mlp_of_many_images_works_through_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, x = Mlp(8, depthwise=True), torch.randn(5, 6, 7, 8)
    seen: list[int] = []
    with reference():
        plain = mlp(x)
    monkeypatch.setattr("dat_cli.ops.parts._LARGE", 3 * 6 * 7 * 32)
    monkeypatch.setattr("dat_cli.ops.parts.PART", 2 * 6 * 7 * 32)
    monkeypatch.setattr("dat_cli.ops.parts._ROWS", 1)
    compute = Mlp._convolved

    def convolved(self: Mlp, part: Tensor) -> Tensor:
        seen.append(len(part))
        return compute(self, part)

    monkeypatch.setattr(Mlp, "_convolved", convolved)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), plain)
        assert seen == [3, 2]
        mlp(x[:3])
        assert seen[2:] == [3]
        monkeypatch.setattr("dat_cli.ops.parts._ROWS", 3 * 6 * 7)
        mlp(x)
        assert seen[3:] == [5]
        monkeypatch.setattr("dat_cli.ops.parts._ROWS", 1)
    mlp(x)
    assert seen[4:] == [5]
    mlp.up.register_forward_hook(lambda *_: None)  # who looks sees all images
    with torch.no_grad():
        mlp(x)
    assert seen[5:] == [5]


def test_an_mlp_without_a_convolution_works_through_rows_that_are_nearly_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlp, x = Mlp(8), torch.randn(2, 5, 10, 8)
    seen: list[int] = []
    with reference():
        plain = mlp(x)
    monkeypatch.setattr("dat_cli.ops.parts._LARGE", 99 * 32)
    monkeypatch.setattr("dat_cli.ops.parts.PART", 30 * 32)
    monkeypatch.setattr("dat_cli.ops.parts._ROWS", 20)

    def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(x.shape[:-1].numel())
        return linear(x, weight, bias)

    monkeypatch.setattr("dat_cli.ops.mlp.linear", multiply)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), plain)
        assert seen == [34, 33, 33]
        monkeypatch.setattr("dat_cli.ops.parts._ROWS", 80)
        torch.testing.assert_close(mlp(x), plain)
    assert seen[3:] == [100]


def test_windows_of_many_images_are_attended_to_of_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = WindowAttention(16, 2, 4, shifted=True), torch.randn(5, 6, 7, 16)
    seen: list[int] = []
    with reference():
        plain = layer(x)
    monkeypatch.setattr("dat_cli.ops.parts._LARGE", 3 * 6 * 7 * 48)
    monkeypatch.setattr("dat_cli.ops.parts.PART", 2 * 6 * 7 * 48)
    monkeypatch.setattr("dat_cli.ops.parts._ROWS", 1)
    compute = WindowAttention._of_images

    def of_images(self: WindowAttention, part: Tensor) -> Tensor:
        seen.append(len(part))
        return compute(self, part)

    monkeypatch.setattr(WindowAttention, "_of_images", of_images)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain)
    layer(x)
    layer.qkv.register_forward_hook(lambda *_: None)  # who looks sees all images
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain)
    assert seen == [3, 2, 5, 5]


@pytest.mark.parametrize(("most", "times"), [(1, 4), (11_000, 2), (30_000, 1), (2**20, 1 / 3)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_neighbourhoods_are_attended_to_of_some_images_or_rows_of_tiles_at_a_time(
    batch: int, most: int, times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    attended: list[int] = []

    def attend(query: Tensor, *others: Tensor) -> Tensor:
        attended.append(len(query))
        return compute(query, *others)

    compute = patch_attention
    monkeypatch.setattr("dat_cli.ops.neighborhood.patch_attention", attend)
    monkeypatch.setattr("dat_cli.ops.neighborhood.PART", most)
    query, key, value = (torch.randn(batch, 22, 31, 2, 4) for _ in range(3))
    table = torch.randn(2, 13, 13)
    with reference():
        plain = neighborhood_attention(query, key, value, table, 7)
    with torch.no_grad():
        torch.testing.assert_close(neighborhood_attention(query, key, value, table, 7), plain)
    assert len(attended) == max(1, max(1, batch) * times)  # 21,504 numbers are copied of the keys of an image


def test_the_compiler_is_told_what_the_operators_give() -> None:
    operators = torch.ops.dat_cli
    query, key, value = torch.randn(2, 6, 5, 6, 8), torch.randn(2, 7, 6, 8), torch.randn(2, 7, 6, 8)
    y, x = query_points(6, 5, "dat", like=query)
    deformed = (query, key, value, torch.randn(6, 11, 9), y, x, torch.rand(2, 3, 7, 2) * 2 - 1)
    patches = (*(torch.randn(2, 5, cells, 3, 8).transpose(2, 3) for cells in (4, 6, 6)), torch.randn(2, 3, 4, 6))
    kinds = torch.arange(5) % 2
    maps, at = torch.randn(2, 3, 4, 4), torch.rand(2, 50, 40, 2)
    for operator, arguments in (
        (operators.deformable_attention, deformed),
        (operators.deformable_attention, tuple(each[:1] if len(each) == 2 else each for each in deformed)),
        (operators.patch_attention, (*patches, kinds)),
        (operators.patch_attention, (*(each[:1] for each in patches), kinds * 0)),
        (operators.neighborhood_attention, (*torch.randn(3, 2, 9, 25, 4, 8), torch.randn(4, 9, 9), 5)),
        (operators.neighborhood_attention, (*torch.randn(3, 1, 9, 9, 4, 8), torch.randn(4, 9, 9), 5)),
        (operators.sample, (maps, at)),
        (operators.linear, (torch.randn(2, 3, 8), torch.randn(5, 8), None, True)),
        (operators.convolution, (torch.randn(2, 4, 9, 7), torch.randn(6, 4, 3, 3), torch.ones(6), 2, 1)),
        (operators.convolution, (torch.randn(1, 3, 8, 8), torch.randn(6, 3, 4, 4), None, 4, 0)),
        (operators.depthwise, (torch.randn(1, 9, 7, 32), torch.randn(16, 1, 5, 5), None, 2, 2, 2, 0.0, False)),
        (operators.depthwise, (torch.randn(2, 9, 7, 16), torch.randn(16, 1, 3, 3), torch.ones(16), 1, 1, 1, 1.0, True)),
    ):
        checks = ("test_schema", "test_faketensor")
        assert set(torch.library.opcheck(operator.default, arguments, test_utils=checks).values()) == {"SUCCESS"}


def test_attention_has_forward_derivatives_where_no_gradients_are_asked_for() -> None:
    query, key, value = torch.randn(3, 1, 6, 6, 2, 4)
    table = torch.randn(2, 5, 5)

    def attend(query: Tensor) -> Tensor:
        return neighborhood_attention(query, key, value, table, kernel=3)

    with torch.no_grad():
        result, change = torch.func.jvp(attend, (query,), (key,))[:2]
    step = 1e-2
    torch.testing.assert_close(
        change, (attend(query + step * key) - attend(query - step * key)) / (2 * step), rtol=1e-2, atol=1e-3
    )
    torch.testing.assert_close(result, attend(query))
