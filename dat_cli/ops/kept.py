"""Keeping, between calls, what follows from sizes, or from a small table for as long as it says the same.

Of a small image most of the time goes into small operations. Nothing is kept where gradients, a compiler or another
device than the CPU are at work, and what is kept must not be written to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dat_cli.ops.circumstances import is_plain_inference

Result = TypeVar("Result")

_SIZES = 3  # for which results of one table are kept: photographs stand, lie, or are square

_of_table: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def kept_by_size(compute: Callable[..., Result], *sizes: Hashable, like: Tensor) -> Result:
    """``compute(*sizes, like)``, from the last time.

    Args:
        compute: A function of sizes, and of the type and the device of ``like``.
        sizes: Its first arguments.
        like: Its last one.
    """
    if torch.compiler.is_compiling() or not is_plain_inference(like):
        return compute(*sizes, like)
    return _of_size(compute, *sizes)


def kept_by_table(compute: Callable[..., Result], table: Tensor, *sizes: Hashable, beside: Tensor) -> Result:
    """``compute(table, *sizes)``, from the last time if neither has changed.

    A table counts as unchanged if its entries are: versions of tensors miss what is written through ``.data``.

    Args:
        compute: A function.
        table: What it is computed from.
        sizes: And these.
        beside: What it is used with.
    """
    if torch.compiler.is_compiling() or not is_plain_inference(table, beside):
        return compute(table, *sizes)
    entries, results = _of_table.get(table, (None, {}))
    if entries is None or not torch.equal(entries, table):
        entries, results = table.detach().clone(), {}
    result = results.get((compute, *sizes))
    if result is None:
        result = compute(table, *sizes)
        latest = list(results.items())[1 - _SIZES :]
        _of_table[table] = entries, {**dict(latest), (compute, *sizes): result}
    return cast("Result", result)


@lru_cache(maxsize=64)
def _of_size(compute: Callable[..., Any], *sizes: Hashable) -> Any:
    with torch.inference_mode(mode=False):  # tensors made in this mode are of no use outside it
        return compute(*sizes, torch.zeros((), device="cpu", dtype=torch.float32))
