"""What networks do in one call, in numbers that no machine's load moves: operators, FLOPs, bytes.

    python -m tests.operations.count [--accept]

shows what has changed against ``counts.json``, and ``--accept`` (``make operations``) stores what is counted now. A
training step is counted without its optimizer, which is PyTorch's. What happens inside one operator of PyTorch is not
seen: fused attention writes its result and nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dat_cli.models import create_model
from dat_cli.ops import constant_weights, linear, mkl, reference
from dat_cli.whole import whole_file

STORED = Path(__file__).with_name("counts.json")
CASES = tuple((name, task) for name in ("dat_tiny", "dat_pp_tiny") for task in ("inference", "training"))
MARGIN = 0.03
"""By how much a sum may differ from the stored one: less than a block's worth of anything."""

Shape: TypeAlias = Sequence[int]

_THREADS = 2  # whose number decides into how many parts work is divided
_IMAGES = 2  # one image would take shortcuts that a batch does not


class Counts(NamedTuple):
    """One call of a network on a batch.

    Attributes:
        calls: Operators that were called, views included, because each costs its dispatch.
        flops: Of matrix products and convolutions, as PyTorch counts them.
        written_bytes: All that operators wrote into memory.
        peak_bytes: The most that was alive at once of what the call made, its result and gradients included.
        operators: The calls by kind.
    """

    calls: int
    flops: int
    written_bytes: int
    peak_bytes: int
    operators: dict[str, int]


def count(name: str, task: str) -> Counts:
    """Count one call of a published variant: eager, float32, 224 pixels, on the CPU, by the fast paths.

    Args:
        name: One of ``list_models()``.
        task: ``inference``, or ``training``: forward, cross entropy, backward.
    """
    torch.manual_seed(0)
    network = create_model(name).train(task == "training")
    images, labels = torch.rand(_IMAGES, 3, 224, 224), torch.arange(_IMAGES)
    call = partial(_train if task == "training" else _infer, network, images, labels)
    # Weights as in prediction; in training they are not constant. Products as on processors of no maker in particular.
    of_intel = mock.patch.object(mkl, "_IS_FASTER", new=False)
    of_amd = mock.patch.object(linear, "_BY_ONEDNN", new=False)
    with reference(False), constant_weights(), of_intel, of_amd, _threads(_THREADS):
        call()  # what is computed once and kept is no part of a call
        network.zero_grad(set_to_none=True)
        return count_call(call)


def count_call(call: Callable[[], object]) -> Counts:
    """Count what one call does; what is alive before it is no part of its peak."""
    gc.collect()
    with _Watch() as watch, FlopCounterMode(display=False, custom_mapping=_FLOPS) as flops:
        call()
    operators = dict(sorted(watch.operators.items()))
    return Counts(sum(operators.values()), flops.get_total_flops(), watch.written, watch.peak, operators)


def differences(stored: Counts, now: Counts) -> list[str]:
    """In one line each: which sums have moved by more than the margin, and which operators are called more or less."""
    moved = []
    for what in ("calls", "flops", "written_bytes", "peak_bytes"):
        before, after = getattr(stored, what), getattr(now, what)
        if abs(after - before) > MARGIN * before:
            moved.append(f"{what.replace('_', ' ')} {before:,} -> {after:,} ({after / before - 1:+.1%})")
    if moved:
        kinds = sorted({*stored.operators, *now.operators}, key=lambda kind: _moved(stored, now, kind))
        changed = [
            f"{kind} {stored.operators.get(kind, 0)} -> {now.operators.get(kind, 0)}"
            for kind in kinds
            if _moved(stored, now, kind)
        ]
        moved.append(f"operators: {', '.join(changed) or 'called as often as before, on larger or smaller tensors'}")
    return moved


def read() -> tuple[str, dict[str, Counts]]:
    """What the stored counts were made with, and they by ``VARIANT TASK``."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    return stored["made_with"], {case: Counts(**counts) for case, counts in stored["counts"].items()}


def made_with() -> str:
    """What decides which operators are called: elsewhere the same work may be divided otherwise."""
    version = ".".join(torch.__version__.split(".")[:2])
    onednn = "with" if torch.backends.mkldnn.is_available() else "without"
    return f"PyTorch {version} on {platform.machine().lower()} {onednn} oneDNN"


def write(counts: dict[str, Counts]) -> None:
    """Store counts."""
    text = json.dumps(
        {"made_with": made_with(), "counts": {case: found._asdict() for case, found in counts.items()}}, indent=1
    )
    with whole_file(STORED) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def main(args: Sequence[str] | None = None) -> int:
    """Count, say what has changed, and store it if asked to; 1 where something changed that is not stored."""
    parser = argparse.ArgumentParser(prog="python -m tests.operations.count", description="Count what networks do.")
    parser.add_argument("--accept", action="store_true", help="store what is counted")
    accept = parser.parse_args(args).accept
    stored = read()[1] if STORED.exists() else {}
    counts = {f"{name} {task}": count(name, task) for name, task in CASES}
    changed = False
    for case, found in counts.items():
        moved = differences(stored[case], found) if case in stored else ["new"]
        changed |= bool(moved)
        sums = f"{found.calls:,} calls, {found.flops / 1e9:.2f} GFLOPs, {found.written_bytes / 1e6:.0f} MB written"
        print("\n  ".join([f"{case}: {sums}, {found.peak_bytes / 1e6:.0f} MB at the peak", *moved]))
    if accept:
        write(counts)
    return int(changed and not accept)


class _Watch(TorchDispatchMode):
    """Counts calls and bytes of every operator inside its ``with`` block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's has no types
        self.operators: Counter[str] = Counter()
        self.written = self.live = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_storage(tensor) for tensor in tree_leaves((args, kwargs)) if _is_dense(tensor)}
        result = func(*args, **(kwargs or {}))
        self.operators[str(func.overloadpacket).removeprefix("aten.")] += 1
        changes = func._schema.is_mutable
        for tensor in tree_leaves(result):
            if _is_dense(tensor) and (changes or _storage(tensor) not in given):
                self.written += tensor.nbytes
                self._follow(tensor)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _storage(tensor)
        if key in self._alive or key == 0:
            return
        size = storage.nbytes()
        self._alive.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.live -= size


def _product_flops(_x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """Of a linear layer (C', C), and of a convolution (C', C / groups, K, K)."""
    channels = out_shape[-1] if len(weight) == 2 else out_shape[1]
    return 2 * prod(out_shape) // channels * prod(weight)


def _convolution_backward_flops(grad: Shape, _x: Shape, weight: Shape, *rest: Any, **_: Any) -> int:
    """Of a convolution's gradients; PyTorch takes a depthwise one for a full one."""
    of_input, of_weight, _of_bias = rest[-1]
    return (of_input + of_weight) * _product_flops((), weight, out_shape=grad)


_FLOPS = {
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
    **{
        operator: _product_flops
        for name in ("_linear_pointwise", "_convolution_pointwise")  # of oneDNN, which PyTorch does not count
        if (operator := getattr(torch.ops.mkldnn, name, None)) is not None
    },
}


def _is_dense(tensor: object) -> bool:
    """Whether it is a tensor in memory that can be seen: the weights that oneDNN has laid out are not."""
    return isinstance(tensor, Tensor) and not tensor.is_mkldnn


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _infer(network: nn.Module, images: Tensor, _labels: Tensor) -> None:
    with torch.no_grad():
        network(images)


def _train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    cross_entropy(network(images), labels).backward()


def _moved(stored: Counts, now: Counts, kind: str) -> int:
    """By how many calls of a kind; those with most more come first when sorted."""
    return stored.operators.get(kind, 0) - now.operators.get(kind, 0)


if __name__ == "__main__":
    sys.exit(main())
