"""Keeping, between calls, what follows from sizes, from a small table for as long as it says the same, or from weights.

Of a small image most of the time goes into small operations. Nothing is kept where gradients, a compiler or another
device than the CPU are at work, and what is kept must not be written to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from dat_cli.ops.circumstances import is_plain_inference

Result = TypeVar("Result")

_SIZES = 3  # for which results of one table or weight are kept: photographs stand, lie, or are square

_of_table: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

# Of weights that are constant, by where they stand, with themselves, so that nothing else can come to stand there.
_of_constant: dict[Hashable, tuple[Tensor, dict[Hashable, Any]]] | None = None
_blocks = 0  # in which they are
_lock = Lock()


@contextmanager
def constant_weights() -> Iterator[None]:
    """Inference inside the ``with`` block may take parameters for what they were when they were first seen there.

    On x86 CPUs linear layers then keep their weights as oneDNN or, for one number of rows, MKL wants them, in as much
    memory again, and convolutions theirs for each of up to three image sizes; small tables are not compared with what
    they were. Whoever changes a weight inside gets results of the old one in inference. On Linux the process keeps up
    to 64 MiB of freed memory from then on.

    It holds for all threads of the process. What was seen stays in memory until the last block that was entered in
    any of them is left.
    """
    global _of_constant, _blocks
    _learn_to_keep_memory()
    with _lock:
        _blocks += 1
        _of_constant = {} if _of_constant is None else _of_constant
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            _of_constant = _of_constant if _blocks else None


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
    constant = _of_constant
    if constant is None or not isinstance(table, nn.Parameter):
        entries, results = _of_table.get(table, (None, {}))
        if entries is None or not torch.equal(entries, table):
            results = {}
            _of_table[table] = table.detach().clone(), results
    else:
        results = _of_same_place(table, constant)
    return _from_last_time(results, _SIZES, compute, table, *sizes)


def kept_of_constant(compute: Callable[..., Tensor], weight: Tensor, *sizes: Hashable, most: int = _SIZES) -> Tensor:
    """``compute(weight, *sizes)``, from the last time, of a constant parameter; else the weight as it is.

    Args:
        compute: A function.
        weight: What it is computed from.
        sizes: And these.
        most: Results that are kept of this weight.
    """
    constant = _of_constant
    if constant is None or not isinstance(weight, nn.Parameter):
        return weight
    return _from_last_time(_of_same_place(weight, constant), most, compute, weight, *sizes)


def bytes_beside(weights: Iterable[Tensor]) -> int:
    """Memory of what is kept of weights because they are constant."""
    constant = _of_constant or {}
    return sum(_bytes_beside(each, constant.get(_place(each), (each, {}))[1]) for each in weights)


def _bytes_beside(weight: Tensor, results: dict[Hashable, Any]) -> int:
    tensors = [each for each in tree_leaves(list(results.values())) if isinstance(each, Tensor)]
    # To what MKL reserves beside a packed matrix it writes nothing.
    filled = [weight if each.is_mkldnn and weight.ndim == 2 else each for each in tensors]
    return sum(each.numel() * each.element_size() for each in filled)


def _from_last_time(
    results: dict[Hashable, Any], most: int, compute: Callable[..., Result], weight: Tensor, *sizes: Hashable
) -> Result:
    call = (compute, *sizes)
    result: Result | None = results.get(call)
    if result is None:
        result = compute(weight, *sizes)
        with _lock:
            while len(results) >= most:
                del results[next(iter(results))]  # the oldest
            results[call] = result
    return result


def _of_same_place(weight: Tensor, constant: dict[Hashable, tuple[Tensor, dict[Hashable, Any]]]) -> dict[Hashable, Any]:
    place = _place(weight)
    known = constant.get(place)
    if known is None:
        known = constant.setdefault(place, (weight.detach(), {}))
    return known[1]


def _place(weight: Tensor) -> Hashable:
    return weight.data_ptr(), weight.shape, weight.stride()


@lru_cache(maxsize=1)
def _learn_to_keep_memory() -> None:
    """From now on Linux' C library gives up to 64 MiB that were freed out again.

    It keeps twice the largest block that it has seen freed, of up to 32 MiB. Else it gives the maps of an image back
    to the system and has each page of the next ones cleared: a tenth of the time of a single image.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8, device="cpu")


@lru_cache(maxsize=64)
def _of_size(compute: Callable[..., Any], *sizes: Hashable) -> Any:
    with torch.inference_mode(mode=False):  # tensors made in this mode are of no use outside it
        return compute(*sizes, torch.zeros((), device="cpu", dtype=torch.float32))
