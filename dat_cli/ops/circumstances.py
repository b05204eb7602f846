"""Under which circumstances something is computed: what a fast path may be chosen by."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from dat_cli.ops.setting import is_reference

# Added in torch 2.7; before it, what is compiled is taken for what is exported.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)

_NO_GPUS = ("cpu", "meta")
_PLAIN = (Tensor, nn.Parameter)


def is_exported() -> bool:
    """Whether a program is made by torch.export or torch.jit.trace, which may run on another machine."""
    return _is_exporting() or torch._C._get_tracing_state() is not None


def is_compiled() -> bool:
    """Whether torch.compile is looking on."""
    return torch.compiler.is_compiling() and not is_exported()


def is_transformed() -> bool:
    """Whether what is computed is derived in other ways than by a backward: vmap, jvp and their like."""
    return not torch.compiler.is_compiling() and (
        torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    )


def is_exported_or_transformed() -> bool:
    """Whether others will run what is computed, or derive it in ways of their own."""
    # Asked some hundred times for an image, and therefore of each case no more than can be.
    return is_exported() if torch.compiler.is_compiling() else is_traced_or_transformed()


def is_traced_or_transformed() -> bool:
    """The same where nothing is compiled or exported."""
    return (
        torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def is_frozen() -> bool:
    """Whether inference is compiled with weights that are constant, as by ``TORCHINDUCTOR_FREEZING=1``.

    The compiler takes the answer for a constant, and sets no guard on it.
    """
    from torch._inductor import config  # as long to import as much else; who compiles has done so

    return bool(config.freezing) and not torch.is_grad_enabled()


is_frozen._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler's way to say so imports Dynamo


def is_on_gpu(x: Tensor) -> bool:
    """Whether many threads compute in little memory."""
    return x.device.type not in _NO_GPUS


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Products inside are as fine as what is multiplied."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def wants_gradients(*tensors: Tensor | None) -> bool:
    """Whether a backward may follow."""
    return torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in tensors)


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether these are tensors in float32 on the CPU, and not of a kind that computes in its own way."""
    for each in tensors:  # a generator would take as long as all else here
        if each is not None and not (type(each) in _PLAIN and each.dtype == torch.float32 and each.is_cpu):
            return False
    return True


def is_plain_inference(*tensors: Tensor | None) -> bool:
    """Whether float32 is computed on the CPU and nobody derives it: functions without a backward may be called."""
    if is_reference() or torch.is_autocast_enabled("cpu") or not are_plain(*tensors):
        return False
    return not (wants_gradients(*tensors) or is_exported_or_transformed())


def is_plain_training(*tensors: Tensor | None) -> bool:
    """Whether float32 is computed on the CPU for a backward alone: functions that have one may be called."""
    if is_reference() or torch.is_autocast_enabled("cpu") or not are_plain(*tensors):
        return False
    return wants_gradients(*tensors) and not (torch.compiler.is_compiling() or is_traced_or_transformed())
