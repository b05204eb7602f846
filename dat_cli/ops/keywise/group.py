"""Attention of the heads that share keys, in blocks of keys and of rows of queries."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from dat_cli.ops.attention import SCORES
from dat_cli.ops.keywise.bias import bias_by_key
from dat_cli.ops.keywise.shifted import Shifted
from dat_cli.ops.keywise.stretched import Stretched
from dat_cli.ops.linear import linear, product_onto

_KEYS = 2**8  # at a time, at least: of fewer, adding up takes longer
_MOST_KEYS = 768
_EXPONENT = math.log2(math.e)


class Group:
    """An image's heads with the same keys, cut into blocks whose scores stay in the cache.

    Args:
        query: (H, W, h, d).
        key: (N, h, d).
        value: (N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1).
        y: (H,), where queries stand.
        x: (W,).
        key_points: (N, 2).
    """

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor
    ) -> None:
        height, width, self.heads, self.channels = query.shape
        most = SCORES * torch.get_num_threads()
        size = _even(len(key), min(max(_KEYS, most // (height * width)), _MOST_KEYS))
        high = _even(height, max(1, most // (size * width)))
        self.parts = [slice(start, start + size) for start in range(0, len(key), size)]
        self.bands = [slice(start, start + high) for start in range(0, height, high)]
        self.scale = _EXPONENT * self.channels**-0.5
        self.queries = self.by_band(query * self.scale)
        self.keys = key.transpose(0, 1).contiguous()  # (h, N, d)
        self.values = torch.cat([value, torch.ones_like(value[..., :1])], dim=2).transpose(0, 1)  # (h, N, d + 1)
        way = cast("type[Shifted | Stretched]", bias_by_key(table, (y, x)))
        self.bias = way(table * _EXPONENT, (y, x))
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


def attended_by(group: Group) -> tuple[Tensor, Tensor]:
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


def derived_by(group: Group, gradient: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What queries, keys, values, the table and positions are given, each of its shape.

    Args:
        group: Whose bias is ``Shifted``.
        gradient: (H, W, h, d), over the sums of weights, by which no block divides.
        mean: (H, W, h, 1), gradient times result, over the same.
    """
    shifted = cast("Shifted", group.bias)
    to_outs = group.by_band(torch.cat([gradient, -mean], dim=-1))  # (M, d + 1)
    to_outs_turned = [[rows[:, :-1].t().contiguous() for rows in of_head] for of_head in to_outs]  # (d, M)
    queries_turned = [[rows.t().contiguous() for rows in of_head] for of_head in group.queries]
    keys_turned = group.keys.transpose(1, 2).contiguous()  # (h, d, N)
    to_query = [[torch.zeros_like(rows) for rows in of_head] for of_head in queries_turned]
    to_key, to_value = torch.zeros_like(group.keys), torch.zeros_like(group.keys)
    to_table, to_points = torch.zeros_like(shifted.table), []
    to_pieces: Tensor | None = None
    for keys in group.parts:
        bias = shifted.of_keys(group.key_points[keys])
        for band, rows in enumerate(group.bands):
            to_pieces = bias.to_pieces(rows, to_pieces)
            for head in range(group.heads):
                of_pairs, derive = bias.derivable(head, rows)
                weights = group.weights(keys, head, band, of_pairs)
                to_value[head, keys] += linear(weights, to_outs_turned[head][band], None)
                to_scores = linear(group.values[head, keys].contiguous(), to_outs[head][band], None).mul_(weights)
                to_key[head, keys] += linear(to_scores, queries_turned[head][band], None)
                to_query[head][band] = product_onto(to_query[head][band], keys_turned[head, :, keys], to_scores.t())
                derive(to_scores, to_pieces[:, head])
            bias.put_back(rows, to_pieces, to_table)
        to_points.append(bias.to_points() / _EXPONENT)
    return (
        group.joined(to_query) * (group.scale / _EXPONENT),
        to_key.transpose(0, 1) / _EXPONENT,
        to_value.transpose(0, 1),
        shifted.cropped(to_table),
        torch.cat(to_points),
    )


def _even(length: int, most: int) -> int:
    """The size of parts of which none is larger than another needs to be."""
    return -(-length // -(-length // most))
