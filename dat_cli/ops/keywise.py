"""Deformable attention of large maps on CPUs, some keys at a time, which needs no look-up for each pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from dat_cli.ops.linear import linear, product_onto
from dat_cli.ops.position_bias import Grid

_WORTH = 2**20  # pairs of a group, below which preparing them takes longer than it saves
_CELLS = 2**6  # of a table, for each row of queries; many more cost more to multiply than to look up
_PAIRS = 2**19  # at a time for each thread, 2 MiB; half as many took a tenth longer
_KEYS = 2**7  # at a time, at least
_MOST_KEYS = 768
_SAFE = 2.0**64  # Sums within this have lost nothing, neither to infinity nor to what counts.


def is_worth(heads: int, height: int, width: int, keys: int, table: Tensor) -> bool:
    """Whether this is faster than looking up the bias of each pair.

    Args:
        heads: Of a group.
        height: Rows of queries.
        width: Columns of queries.
        keys: Of a group.
        table: (h, 2 H0 - 1, 2 W0 - 1).
    """
    tall, wide = table.shape[1:]
    return heads * height * width * keys >= _WORTH and tall > 1 and tall * wide <= _CELLS * height


def attend_keywise(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor | None:
    """softmax(query key^T / sqrt(d) + bias) value of one image and group, without gradients.

    Bilinear weights are separable: what a key adds to the map of queries is Y T X^T, with its table T and two entries
    in each row of Y and of X. T X^T is one product for many keys; of its rows, which lie side by side for all columns
    of queries, those of Y T X^T are means of two.

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
        (H, W, h, d); None where a sum is beyond what is safe, or no number.
    """
    height, width, heads, channels = query.shape
    y, x = query_points
    exponent = math.log2(math.e)
    table = table * exponent
    most = _PAIRS * torch.get_num_threads()
    size = _even(len(key), min(max(_KEYS, most // (height * width)), _MOST_KEYS))
    high = max(1, most // (size * width))
    queries = (query * (exponent * channels**-0.5)).permute(2, 0, 1, 3).contiguous()  # (h, H, W, d)
    bands = [[rows.flatten(0, 1) for rows in of_head.split(high)] for of_head in queries]  # (M, d) each
    sums = [[rows.new_zeros(channels + 1, len(rows)) for rows in of_head] for of_head in bands]
    keys = key.transpose(0, 1).contiguous()  # (h, N, d)
    values = torch.cat([value, torch.ones_like(value[..., :1])], dim=2).permute(1, 2, 0).contiguous()  # (h, d + 1, N)
    ways = ((keys, 1), (values, 2), (key_points[:, 1], 0), *((each, 0) for each in _down(y, key_points[:, 0], table)))
    for of_keys, of_values, at, cells, weights in zip(*(each.split(size, axis) for each, axis in ways), strict=True):
        across = _across(table, x, at)  # (h, tall N', W)
        cells = torch.arange(len(at), dtype=cells.dtype, device=at.device)[:, None, None].add(cells, alpha=len(at))
        down = [[part.flatten(0, 1) for part in each.split(high, dim=1)] for each in (cells, weights)]
        for head in range(heads):
            for band, (places, shares) in enumerate(zip(*down, strict=True)):
                bias = F.embedding_bag(places, across[head], per_sample_weights=shares, mode="sum").view(len(at), -1)
                scores = product_onto(bias, of_keys[head], bands[head][band])  # (N', M)
                sums[head][band] = product_onto(sums[head][band], of_values[head], scores.exp2_().t())
    attended, total = torch.stack([torch.cat(of_head, dim=1) for of_head in sums]).split([channels, 1], dim=1)
    least, greatest = total.aminmax()
    if not (least.item() >= 1 / _SAFE and greatest.item() <= _SAFE):
        return None
    return (attended / total).permute(2, 0, 1).unflatten(0, (height, width))


def _even(length: int, most: int) -> int:
    """The size of parts of which none is larger than another needs to be."""
    return -(-length // -(-length // most))


def _across(table: Tensor, x: Tensor, keys: Tensor) -> Tensor:
    """T X^T of all keys: (h, tall, wide), (W,), (N,) -> (h, tall N, W)."""
    heads, tall, wide = table.shape
    cell = _cells(x, keys, wide)[..., None]  # (N, W, 1)
    hats = (cell - torch.arange(wide, device=x.device)).abs_().neg_().add_(1).clamp_(min=0)
    return linear(table.flatten(0, 1), hats.flatten(0, 1), None).view(heads, tall * len(keys), len(x))


def _down(y: Tensor, keys: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """The two rows of T that each row of queries lies between, and their weights: (H,), (N,) -> (N, H, 2) each."""
    tall = table.shape[1]
    cell = _cells(y, keys, tall)[..., None]  # (N, H, 1)
    rows = cell.floor().nan_to_num().clamp_(0, tall - 2) + torch.arange(2, device=y.device)
    return rows.int(), (cell - rows).abs_().neg_().add_(1).clamp_(min=0)


def _cells(at: Tensor, keys: Tensor, size: int) -> Tensor:
    """Where in the table half the displacement falls, (N, W)."""
    return ((at - keys[:, None]) / 2 + 1) / 2 * (size - 1)
