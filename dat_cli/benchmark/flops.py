"""Floating-point operations of a call, counted in the plain form without computing anything."""

from __future__ import annotations

from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.benchmark.results import Task
from dat_cli.benchmark.subjects import Subject
from dat_cli.ops.setting import reference


@cache
def flops_of_image(network: str, task: Task, image_size: int) -> int | None:
    """Operations of one image, two for each multiply-accumulate; with those of the backward pass in training.

    The plain form is counted, whose matrix products are those of published figures (``dat_cli.macs`` has the same
    numbers for inference), so that a fast path is not credited for what it computes twice.

    Returns:
        None where timm's network cannot run without numbers.
    """
    try:
        with torch.device("meta"):
            model = Subject(network).build(image_size).train(task == "training")
            image = torch.empty(1, 3, image_size, image_size)
        with reference(), FlopCounterMode(display=False) as counter, torch.set_grad_enabled(task == "training"):
            output = model(image)
            if task == "training":
                output.sum().backward()
    except Exception:  # noqa: BLE001 - a network of others may do anything with tensors that have no numbers
        return None
    return int(counter.get_total_flops())
