"""Floating-point operations of an image, as published figures count them: two for each multiply-accumulate."""

from __future__ import annotations

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.benchmark.results import Task
from dat_cli.benchmark.subjects import TIMM, Subject
from dat_cli.catalog import get_variant
from dat_cli.macs import count_macs

_TRAINING = 3
"""A backward pass multiplies twice for each product of the forward pass; the step of AdamW is nothing beside it.
PyTorch's own count of a backward pass takes depthwise convolutions for full ones."""


def flops_of_image(network: str, task: Task, image_size: int) -> int | None:
    """Operations that the plain form needs for one image, whatever a fast path computes twice or not at all.

    Returns:
        None where timm's network cannot run without numbers, so that PyTorch cannot count.
    """
    forward = _forward(network, image_size)
    return forward if forward is None or task == "inference" else _TRAINING * forward


@cache
def _forward(network: str, image_size: int) -> int | None:
    if not network.startswith(TIMM):
        macs = count_macs(get_variant(network), height=image_size, width=image_size, num_classes=1000)
        return 2 * sum(macs.values())
    try:
        with torch.device("meta"):
            model = Subject(network).build(image_size).eval()
            image = torch.empty(1, 3, image_size, image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
    except Exception:  # noqa: BLE001 - a network of others may do anything with tensors that have no numbers
        return None
    return int(counter.get_total_flops())
