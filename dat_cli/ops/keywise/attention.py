"""When deformable attention goes by keys, and what it then is to PyTorch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from dat_cli.ops.attention import attention_reference
from dat_cli.ops.circumstances import is_traced_or_transformed
from dat_cli.ops.keywise.bias import bias_by_key
from dat_cli.ops.keywise.group import Group, attended_by, derived_by
from dat_cli.ops.keywise.shifted import Shifted
from dat_cli.ops.keywise.stretched import Stretched
from dat_cli.ops.position_bias import Grid, deformable_bias
from dat_cli.ops.recompute import derived_again

_WORTH = 2**21  # pairs of a group, below which preparing them takes longer than it saves
_WORTH_TRAINING = 2**20
_LARGE = 2**23  # pairs, 32 MiB, from which on a C library gives memory back, which slows down the training of all pairs
_SAFE = 2.0**64  # sums within this have lost nothing, neither to infinity nor to what counts


def is_worth(pairs: int, maps: int, table: Tensor, query_points: Grid, *, training: bool = False) -> bool:
    """Whether this is faster than looking up the bias of each pair.

    Args:
        pairs: Of query and key, in all heads of all images.
        maps: Groups of heads with the same keys, in all images.
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
        training: Whether gradients are wanted.
    """
    if pairs < (max(_LARGE, maps * _WORTH_TRAINING) if training else max(1, maps * _WORTH)):
        return False
    way = bias_by_key(table, query_points)
    return way is Shifted or (way is Stretched and not training)


def attend_keywise(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor | None:
    """softmax(query key^T / sqrt(d) + bias) value of one image and group.

    Weights are powers of 2 of scores that are not first lowered by the greatest of them, so that keys can be added up
    as they come, and no pass is needed to find it. That loses nothing unless their sum is very large or very small.
    The backward makes them again (as in FlashAttention, Dao et al., NeurIPS 2022).

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
    inputs = (query, key, value, table, *query_points, key_points)
    with torch.no_grad():
        attended, total = attended_by(Group(*inputs))
        least, greatest = total.aminmax()
    if not (least.item() >= 1 / _SAFE and greatest.item() <= _SAFE):
        return None
    if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
        return cast("Tensor", _Keywise.apply((attended, total), *inputs))
    return attended


class _Keywise(torch.autograd.Function):
    """What was attended, with a backward."""

    @staticmethod
    def forward(ctx: Any, found: tuple[Tensor, Tensor], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*found, *inputs)
        return found[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        attended, total, *inputs = ctx.saved_tensors
        (gradient,) = gradients  # (H, W, h, d)
        several = torch._C._functorch.is_legacy_batchedtensor(gradient)  # as with is_grads_batched
        if several or torch.is_grad_enabled() or is_traced_or_transformed():
            with torch.enable_grad():
                return None, *derived_again(_plain(*inputs), tuple(inputs), gradient)
        mean = (gradient * attended).sum(dim=-1, keepdim=True)
        query, key, value, table, points = derived_by(Group(*inputs), gradient / total, mean / total)
        return None, query, key, value, table, None, None, points


def _plain(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor
) -> Tensor:
    """The same as it is written."""
    queries, keys, values = (each.transpose(0, 1) for each in (query.flatten(0, 1), key, value))
    bias = deformable_bias(table, (y, x), key_points[None, None])[0]
    return attention_reference(queries, keys, values, bias).transpose(0, 1).view(query.shape)
