"""When deformable attention goes key by key, and that as a function with a backward."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from dat_cli.ops.attention import attention_reference
from dat_cli.ops.circumstances import is_traced_or_transformed, wants_gradients, without_autocast
from dat_cli.ops.keywise.bias import Way, bias_by_key
from dat_cli.ops.keywise.group import Group, attended_by, gradients_by
from dat_cli.ops.keywise.shifted import Shifted
from dat_cli.ops.keywise.stretched import Stretched
from dat_cli.ops.position_bias import Grid, deformable_bias
from dat_cli.ops.recompute import derived_again

_WORTH = 2**21  # pairs of a group, below which preparing them takes longer than it saves
_WORTH_TRAINING = 2**20
_LARGE = 2**23  # pairs, 32 MiB: what is larger glibc gives back at once, which slows down keeping something of each
_SAFE = 2.0**64  # sums of weights within this have lost nothing, neither to infinity nor to 0


def keywise_way(pairs: int, maps: int, table: Tensor, query_points: Grid, *, training: bool = False) -> Way | None:
    """How to attend key by key; None if looking up the bias of each pair is faster.

    Args:
        pairs: Of query and key, in all heads of all images.
        maps: Groups of heads with the same keys, in all images.
        table: (h, 2 H0 - 1, 2 W0 - 1).
        query_points: y (H,) and x (W,).
        training: Whether gradients are wanted, which only one way has.
    """
    if pairs < (max(_LARGE, maps * _WORTH_TRAINING) if training else max(1, maps * _WORTH)):
        return None
    way = bias_by_key(table, query_points)
    return None if training and way is Stretched else way


def attend_keywise(
    way: Way, query: Tensor, key: Tensor, value: Tensor, table: Tensor, query_points: Grid, key_points: Tensor
) -> Tensor | None:
    """softmax(query key^T / sqrt(d) + bias) value of one image and group.

    Weights are powers of 2 of scores that are not first lowered by the greatest of them, so that keys can be added up
    as they come, and no pass is needed to find it. That loses nothing unless their sum is very large or very small.
    The backward makes them again (as in FlashAttention, Dao et al., NeurIPS 2022).

    Args:
        way: ``Shifted`` where gradients are wanted.
        query: (H, W, h, d).
        key: (N, h, d).
        value: (N, h, d).
        table: (h, 2 H0 - 1, 2 W0 - 1), of these heads.
        query_points: y (H,) and x (W,), which get no gradients.
        key_points: (N, 2).

    Returns:
        (H, W, h, d); None where a sum of weights is beyond what is safe, and where it or a position is no number.
    """
    inputs = (query, key, value, table, *query_points, key_points)
    if not key_points.isfinite().all():
        return None
    with torch.no_grad():
        attended, total = attended_by(Group[Any](way, *inputs))
        least, greatest = total.aminmax()
    if not (least.item() >= 1 / _SAFE and greatest.item() <= _SAFE):
        return None
    return cast("Tensor", _Keywise.apply((attended, total), *inputs)) if wants_gradients(*inputs) else attended


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
        batched = torch._C._functorch.is_legacy_batchedtensor(gradient)  # several gradients at once
        if batched or torch.is_grad_enabled() or is_traced_or_transformed():
            with torch.enable_grad():
                return None, *derived_again(_plain(*inputs), tuple(inputs), gradient)
        with without_autocast(gradient):
            inner = (gradient * attended).sum(dim=-1, keepdim=True)
            *found, of_points = gradients_by(Group(Shifted, *inputs), gradient / total, inner / total)
        return None, *found, None, None, of_points


def _plain(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, y: Tensor, x: Tensor, key_points: Tensor
) -> Tensor:
    """softmax(query key^T / sqrt(d) + bias) value, pair by pair."""
    queries, keys, values = (each.transpose(0, 1) for each in (query.flatten(0, 1), key, value))
    bias = deformable_bias(table, (y, x), key_points[None, None])[0]
    return attention_reference(queries, keys, values, bias).transpose(0, 1).view(query.shape)
