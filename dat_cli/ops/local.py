"""Attention of each query to a list of cells, in the plain form: windows and neighbourhoods alike."""

from __future__ import annotations

from torch import Tensor


def attend_to_cells(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the keys of every query and attend to them; the weights stand in memory.

    Args:
        query: (B, H, W, h, d).
        key: (B, H', W', h, d).
        value: (B, H', W', h, d).
        bias: (h, H, W, K), added to the scores.
        cells: (H, W, K), the keys that each query sees, as row x W' + column.

    Returns:
        What each query gathered, (B, H, W, h, d), and the weights, (B, h, H, W, K).
    """
    keys, values = (x.flatten(1, 2)[:, cells].transpose(3, 4) for x in (key, value))  # (B, H, W, h, K, d)
    scores = ((query * query.shape[-1] ** -0.5)[..., None, :] @ keys.transpose(-1, -2))[..., 0, :]  # (B, H, W, h, K)
    weights = (scores.permute(0, 3, 1, 2, 4) + bias).softmax(dim=-1)
    return (weights.permute(0, 2, 3, 1, 4)[..., None, :] @ values)[..., 0, :], weights
