"""Attention of the heads that share keys, in blocks of keys and of rows of queries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from dat_cli.ops.keywise.shifted import Shifted
from dat_cli.ops.keywise.shifted_gradients import ShiftedGradients
from dat_cli.ops.keywise.stretched import Stretched
from dat_cli.ops.linear import linear, product_onto
from dat_cli.ops.position_bias import Grid

Bias = TypeVar("Bias", Shifted, Stretched)

_PAIRS = 2**19  # at a time for each thread: of fewer, calls take longer; more would not stay in the cache
_KEYS = 2**8  # at a time, at least: of fewer, adding up takes longer
_MOST_KEYS = 768
_EXPONENT = math.log2(math.e)


class Group(Generic[Bias]):
    """An image's heads with the same keys, cut into blocks whose scores stay in the cache.

    Args:
        way: How the bias is made.
        query: (H, W, h, d).
        key: (N, h, d).
        value: (N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1).
        y: (H,), where queries stand.
        x: (W,).
        key_points: (N, 2).
    """

    def __init__(
        self,
        way: Callable[[Tensor, Grid], Bias],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        table: Tensor,
        y: Tensor,
        x: Tensor,
        key_points: Tensor,
    ) -> None:
        height, width, self.heads, self.channels = query.shape
        most = _PAIRS * torch.get_num_threads()
        size = _even(len(key), min(max(_KEYS, most // (height * width)), _MOST_KEYS))
        high = _even(height, max(1, most // (size * width)))
        self.parts = [slice(start, start + size) for start in range(0, len(key), size)]
        self.bands = [slice(start, min(start + high, height)) for start in range(0, height, high)]
        self.scale = _EXPONENT * self.channels**-0.5
        self.queries = self.by_band(query * self.scale)
        self.keys = key.transpose(0, 1).contiguous()  # (h, N, d)
        self.values = torch.cat([value, torch.ones_like(value[..., :1])], dim=2).transpose(0, 1)  # (h, N, d + 1)
        self.bias: Bias = way(table * _EXPONENT, (y, x))
        self.key_points = key_points

    def by_band(self, maps: Tensor) -> list[list[Tensor]]:
        """(H, W, h, C) -> of each head and each band of rows, (M, C)."""
        by_head = maps.permute(2, 0, 1, 3).contiguous()
        return [[of_head[rows].flatten(0, 1) for rows in self.bands] for of_head in by_head]

    def weights(self, keys: slice, head: int, band: int, bias: Tensor) -> Tensor:
        """Of some keys for a band of rows, (N', M): powers of 2 of scores."""
        return product_onto(bias, self.keys[head, keys], self.queries[head][band]).exp2_()

    def joined(self, by_band: list[list[Tensor]]) -> Tensor:
        """Of each head and each band, (C, M) -> (H, W, h, C)."""
        by_head = torch.stack([torch.cat(of_head, dim=1) for of_head in by_band])  # (h, C, H W)
        return by_head.permute(2, 0, 1).unflatten(0, (-1, len(self.bias.points[1])))


def attended_by(group: Group[Shifted] | Group[Stretched]) -> tuple[Tensor, Tensor]:
    """The result (H, W, h, d), and the sums of weights (H, W, h, 1)."""
    values = group.values.transpose(1, 2).contiguous()  # (h, d + 1, N)
    sums = [[rows.new_zeros(group.channels + 1, len(rows)) for rows in of_head] for of_head in group.queries]
    for keys in group.parts:
        bias = group.bias.of_keys(group.key_points[keys])
        for band, rows in enumerate(group.bands):
            for head, of_head in enumerate(sums):
                weights = group.weights(keys, head, band, bias.of(head, rows))
                of_head[band] = product_onto(of_head[band], values[head, :, keys], weights.t())
    attended, total = group.joined(sums).split([group.channels, 1], dim=-1)
    return attended / total, total


def gradients_by(group: Group[Shifted], gradient: Tensor, inner: Tensor) -> tuple[Tensor, ...]:
    """The gradients of queries, keys, values, the table and positions, each as its tensor.

    Args:
        group: The heads.
        gradient: That of the result, (H, W, h, d), over the sums of weights, by which no block divides.
        inner: (H, W, h, 1), its inner product with the result, over the same.
    """
    products, of_bias = _Products(group, gradient, inner), ShiftedGradients(group.bias, group.key_points)
    for keys in group.parts:
        bias = group.bias.of_keys(group.key_points[keys])
        for band, rows in enumerate(group.bands):
            block = of_bias.of_block(bias, keys, rows)
            for head in range(group.heads):
                of_pairs, backward = block.derivable(head)
                backward(products.add(keys, head, band, group.weights(keys, head, band, of_pairs)))
    return *products.gradients(), of_bias.table(), of_bias.points() / _EXPONENT


class _Products:
    """The gradients of queries, keys and values, which are added up block by block."""

    def __init__(self, group: Group[Shifted], gradient: Tensor, inner: Tensor) -> None:
        self._group = group
        self._out = group.by_band(torch.cat([gradient, -inner], dim=-1))  # (M, d + 1)
        self._out_turned = [[rows[:, :-1].t().contiguous() for rows in of_head] for of_head in self._out]  # (d, M)
        self._queries_turned = [[rows.t().contiguous() for rows in of_head] for of_head in group.queries]
        self._keys_turned = group.keys.transpose(1, 2).contiguous()  # (h, d, N)
        self._query = [[torch.zeros_like(rows) for rows in of_head] for of_head in self._queries_turned]
        self._key, self._value = torch.zeros_like(group.keys), torch.zeros_like(group.keys)

    def add(self, keys: slice, head: int, band: int, weights: Tensor) -> Tensor:
        """Of a block with these weights, (N', M); the gradient of its scores, (N', M)."""
        values = self._group.values[head, keys].contiguous()
        self._value[head, keys].add_(linear(weights, self._out_turned[head][band], None))
        scores = linear(values, self._out[head][band], None).mul_(weights)
        self._key[head, keys].add_(linear(scores, self._queries_turned[head][band], None))
        of_head = self._query[head]
        of_head[band] = product_onto(of_head[band], self._keys_turned[head, :, keys], scores.t())
        return scores

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of queries (H, W, h, d), keys and values (N, h, d)."""
        query = self._group.joined(self._query) * (self._group.scale / _EXPONENT)
        return query, self._key.transpose(0, 1) / _EXPONENT, self._value.transpose(0, 1)


def _even(length: int, most: int) -> int:
    """The size of parts of which none is larger than another needs to be."""
    return -(-length // -(-length // most))
