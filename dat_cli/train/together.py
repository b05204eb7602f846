"""Small things that all processes of a training have to know at once, without a word to the GPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


class Together:
    """Messages among the processes of a training over gloo; with one process, nothing is sent.

    All processes call the same methods in the same order.
    """

    def __init__(self) -> None:
        self._group: Any = None

    def highest(self, *values: int) -> tuple[int, ...]:
        """Of each value the highest of all processes."""
        if not _several():
            return values
        message = torch.tensor(values, dtype=torch.int64)
        distributed.all_reduce(message, op=distributed.ReduceOp.MAX, group=self._processes())
        return tuple(message.tolist())

    def gather(self, value: object) -> list[Any]:
        """The values of all processes, by rank."""
        if not _several():
            return [value]
        values: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(values, value, group=self._processes())
        return values

    def _processes(self) -> Any:
        if self._group is None:
            self._group = distributed.new_group(backend="gloo")
        return self._group


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
