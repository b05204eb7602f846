"""Attention to sampled keys, with a bilinear position bias (DAT, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.attention import (
    SCORES,
    attend_each,
    attend_over,
    attention,
    attention_weights,
    is_left_to_compiler,
)
from dat_cli.ops.circumstances import (
    is_exported,
    is_on_gpu,
    is_plain_inference,
    is_plain_training,
    wants_gradients,
)
from dat_cli.ops.keywise.attention import attend_keywise, keywise_way
from dat_cli.ops.keywise.bias import Way
from dat_cli.ops.position_bias import Grid, bias_by_rows, deformable_bias, position_bias, row_parts
from dat_cli.ops.recompute import recomputed
from dat_cli.ops.setting import is_reference

# Pairs of query and key that may stand in memory at once, 256 MiB in float32: an image of 2048 x 1024 has 67 million
# in each head of DAT's third stage.
_PAIRS = 2**26

_ALIGNED = 16  # A GPU's attention first copies a bias whose rows do not begin at multiples of so many numbers.


def deformable_attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value.

    Of large maps in float32 on a CPU key by key (``ops.keywise``). Elsewhere, where all pairs would take more than
    256 MiB, a part of them is attended at a time. In both cases their bias and weights are computed again for the
    backward pass instead of being kept.

    Args:
        query: (B, H, W, h, d).
        key: (B, N, h, d), heads in the order of their groups.
        value: (B, N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1), position bias by displacement.
        query_points: y (H,) and x (W,), where queries stand; float32 or float64.
        key_points: (B, G, N, 2), where keys were sampled; the same type.

    Returns:
        (B, H, W, h, d).
    """
    whole = _Pairs(query, key, value, table, query_points, key_points)
    if is_plain_inference(query, key, value, table, key_points) and not is_left_to_compiler(whole.number):
        in_cache = _attention_in_graph if torch.compiler.is_compiling() else _attention_in_cache
        return in_cache(query, key, value, table, *query_points, key_points)
    if is_plain_training(query, key, value, table, key_points) and not wants_gradients(*query_points):
        way = _keywise_way(whole, training=True)
        if way is not None:
            return _attend_keywise(way, whole)
    if is_exported() or whole.number <= _PAIRS:  # what is exported is of no certain size
        return _attend(whole)
    return _in_parts(_attend_twice, _PAIRS, whole)


def deformable_weights(query: Tensor, key: Tensor, table: Tensor, query_points: Grid, key_points: Tensor) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias), the weights that ``deformable_attention`` gives to its values.

    Args:
        query: (B, H, W, h, d).
        key: (B, N, h, d).
        table: As there.
        query_points: As there.
        key_points: As there.

    Returns:
        (B, h, H W, N).
    """
    bias = deformable_bias(table, query_points, key_points).to(query.dtype)
    return attention_weights(query.flatten(1, 2).transpose(1, 2), key.transpose(1, 2), bias)


class _Pairs(NamedTuple):
    """What ``deformable_attention`` is given, which can be cut into parts that do not see each other."""

    query: Tensor
    key: Tensor
    value: Tensor
    table: Tensor
    query_points: Grid
    key_points: Tensor

    @property
    def number(self) -> int:
        """Pairs of query and key, of all heads."""
        return math.prod(self.query.shape[:-1]) * self.key.shape[1]  # not numel, which export takes for a constant

    def images(self, size: int) -> Iterator[_Pairs]:
        if self.query.is_cpu and size > torch.get_num_threads():
            size -= size % torch.get_num_threads()  # which share no map when they sample
        parts = zip(*(x.split(size) for x in (self.query, self.key, self.value, self.key_points)), strict=True)
        return (self._replace(query=query, key=key, value=value, key_points=at) for query, key, value, at in parts)

    def groups(self, size: int) -> Iterator[_Pairs]:
        heads = size * len(self.table) // self.key_points.shape[1]
        qkv = (x.split(heads, dim=-2) for x in (self.query, self.key, self.value))
        parts = zip(*qkv, self.table.split(heads), self.key_points.split(size, dim=1), strict=True)
        return (_Pairs(query, key, value, table, self.query_points, at) for query, key, value, table, at in parts)

    def rows(self, size: int) -> Iterator[_Pairs]:
        y, x = self.query_points
        parts = zip(self.query.split(size, dim=1), y.split(size), strict=True)
        return (self._replace(query=query, query_points=(at, x)) for query, at in parts)


def _in_parts(attend: Callable[[_Pairs], Tensor], most: int, whole: _Pairs, least: int = 1) -> Tensor:
    """Attend with at most so many pairs at once: to some images, or to some groups of one, or from some of its rows.

    But from so many rows at least.
    """
    batch, height = whole.query.shape[:2]
    groups = whole.key_points.shape[1]
    ways = ((0, batch, 1, whole.images), (-2, groups, 1, whole.groups), (1, height, least, whole.rows))
    for axis, length, fewest, cut in ways:
        if whole.number > most and length > fewest:
            size = max(fewest, most * length // whole.number)
            return torch.cat([_in_parts(attend, most, part, least) for part in cut(size)], axis)
    return attend(whole)


def _attend(pairs: _Pairs) -> Tensor:
    query, key, value, table, query_points, key_points = pairs
    keys = key.shape[1]
    aligned = not is_on_gpu(query) or is_reference() or is_exported()
    beyond = 0 if aligned else -keys % _ALIGNED
    if beyond:
        key, value = (F.pad(x, (0, 0, 0, 0, 0, beyond)) for x in (key, value))
        key_points = F.pad(key_points, (0, 0, 0, beyond))
    bias = position_bias(table, query_points, key_points, query.dtype)  # (B, h, M, N)
    if beyond:
        bias = bias.masked_fill(torch.arange(keys + beyond, device=bias.device) >= keys, float("-inf"))
    return _over_maps(attention, query, key, value, bias)


def _attend_twice(pairs: _Pairs) -> Tensor:
    """The same, and once more for the backward."""
    return recomputed(lambda *parts: _attend(_Pairs(*parts)), *pairs)


def _attend_in_place(pairs: _Pairs) -> Tensor:
    """By images or, where the bias is sampled so, by groups and parts of the rows: put together it would be copied."""
    query, key, value, table, query_points, key_points = pairs
    parts = row_parts(len(table), query_points, key_points)
    bias = bias_by_rows(table, query_points, key_points, parts)  # (B, G, P, h / G, M / P, N)
    if parts == 1:
        by_image = bias.flatten(1, 3).unbind()
        return _over_maps(attend_each, query, key, value, by_image)
    groups = bias.shape[1]
    queries = query.unflatten(1, (parts, -1)).flatten(2, 3).unflatten(3, (groups, -1)).permute(0, 3, 1, 4, 2, 5)
    keys, values = (each.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4) for each in (key, value))
    attended = value.new_empty(queries.shape)  # (B, G, P, h / G, M / P, d)
    for part in product(*map(range, bias.shape[:3])):
        group = part[:2]
        attend_over(queries[part], keys[group], values[group], bias[part], attended[part])
    return attended.permute(0, 2, 4, 1, 3, 5).reshape(query.shape)


def _over_maps(attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, bias: object) -> Tensor:
    """(B, H, W, h, d), and keys and values (B, N, h, d), for what takes (B, h, ..., d)."""
    queries, keys, values = (x.transpose(1, 2) for x in (query.flatten(1, 2), key, value))
    return attend(queries, keys, values, bias).transpose(1, 2).reshape(query.shape)


def _attention_in_cache(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor
) -> Tensor:
    """The bias and what is added to it stay in the processor's cache."""
    whole = _Pairs(query, key, value, table, (y, x), key_points)
    way = _keywise_way(whole)
    return (_attend_pairwise(whole) if way is None else _attend_keywise(way, whole)).contiguous()


def _keywise_way(whole: _Pairs, *, training: bool = False) -> Way | None:
    maps = whole.key_points.shape[:2].numel()
    return keywise_way(whole.number, maps, whole.table, whole.query_points, training=training)


def _attend_keywise(way: Way, whole: _Pairs) -> Tensor:
    """By images and groups, whose heads share their keys' positions."""
    by_image = ([_attend_group(way, group) for group in image.groups(1)] for image in whole.images(1))
    return torch.cat([torch.cat(groups, dim=-2) for groups in by_image])


def _attend_group(way: Way, group: _Pairs) -> Tensor:
    query, key, value, table, query_points, key_points = group
    attended = attend_keywise(way, query[0], key[0], value[0], table, query_points, key_points[0, 0])
    if attended is not None:
        return attended[None]
    if wants_gradients(query, key, value, table, key_points):
        return _in_parts(_attend_twice, _PAIRS, group)
    return _attend_pairwise(group)


def _attend_pairwise(whole: _Pairs) -> Tensor:
    threads = torch.get_num_threads()
    return _in_parts(_attend_in_place, SCORES * threads, whole, least=threads)


_attention_in_graph = torch.library.custom_op(
    "dat_cli::deformable_attention",
    _attention_in_cache,
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor table, Tensor y, Tensor x, Tensor key_points) -> Tensor",
)


@_attention_in_graph.register_fake
def _attended(query: Tensor, *_: Tensor) -> Tensor:
    return query.new_empty(query.shape)
