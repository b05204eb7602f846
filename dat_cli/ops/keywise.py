"""Deformable attention of large maps on CPUs, some keys at a time, which needs no look-up for each pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dat_cli.ops.attention import SCORES
from dat_cli.ops.keywise_bias import bias_by_key
from dat_cli.ops.linear import product_onto
from dat_cli.ops.position_bias import Grid

_WORTH = 2**21  # pairs of a group, below which preparing them takes longer than it saves
_KEYS = 2**8  # at a time, at least: of fewer, adding up takes longer
_MOST_KEYS = 768
_SAFE = 2.0**64  # Sums within this have lost nothing, neither to infinity nor to what counts.


def is_worth(pairs: int, table: Tensor, query_points: Grid) -> bool:
    """Whether this is faster than looking up the bias of each pair.

    Args:
        pairs: Of query and key, in a group of heads.
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
    """
    return pairs >= _WORTH and bias_by_key(table, query_points) is not None


def attend_keywise(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor | None:
    """softmax(query key^T / sqrt(d) + bias) value of one image and group, without gradients.

    Weights are powers of 2 of scores that are not first lowered by the greatest of them, so that keys can be added up
    as they come, and no pass is needed to find it. That loses nothing unless their sum is very large or very small.

    Args:
        query: (H, W, h, d).
        key: (N, h, d).
        value: (N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1), of these heads.
        query_points: y (H,) and x (W,).
        key_points: (N, 2).

    Returns:
        (H, W, h, d); None where a sum is beyond what is safe, or no number, and where it would not be worth it.
    """
    way = bias_by_key(table, query_points)
    if way is None:
        return None
    height, width, heads, channels = query.shape
    exponent = math.log2(math.e)
    most = SCORES * torch.get_num_threads()
    size = _even(len(key), min(max(_KEYS, most // (height * width)), _MOST_KEYS))
    high = max(1, most // (size * width))
    queries = (query * (exponent * channels**-0.5)).permute(2, 0, 1, 3).contiguous()  # (h, H, W, d)
    bands = [[rows.flatten(0, 1) for rows in of_head.split(high)] for of_head in queries]  # (M, d) each
    sums = [[rows.new_zeros(channels + 1, len(rows)) for rows in of_head] for of_head in bands]
    keys = key.transpose(0, 1).contiguous()  # (h, N, d)
    values = torch.cat([value, torch.ones_like(value[..., :1])], dim=2).permute(1, 2, 0).contiguous()  # (h, d + 1, N)
    biases = way(table * exponent, query_points)
    parts = zip(keys.split(size, dim=1), values.split(size, dim=2), key_points.split(size), strict=True)
    for of_keys, of_values, points in parts:
        bias_of = biases.of_keys(points)
        for head in range(heads):
            for band, rows in enumerate(bands[head]):
                bias = bias_of(head, band * high, (band + 1) * high)
                weights = product_onto(bias, of_keys[head], rows).exp2_()  # (N', M)
                sums[head][band] = product_onto(sums[head][band], of_values[head], weights.t())  # (d + 1, M)
    attended, total = torch.stack([torch.cat(of_head, dim=1) for of_head in sums]).split([channels, 1], dim=1)
    least, greatest = total.aminmax()
    if not (least.item() >= 1 / _SAFE and greatest.item() <= _SAFE):
        return None
    return (attended / total).permute(2, 0, 1).unflatten(0, (height, width))


def _even(length: int, most: int) -> int:
    """The size of parts of which none is larger than another needs to be."""
    return -(-length // -(-length // most))
