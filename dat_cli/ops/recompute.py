"""Computing again in the backward what is large and cheap, instead of keeping it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dat_cli.ops.circumstances import is_compiled, is_exported, is_on_gpu, is_transformed
from dat_cli.ops.setting import is_reference


def recomputed(compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """``compute(*inputs)``, which keeps no more for a backward than its inputs; it must not draw random numbers.

    Hooks on modules that it calls see the second time, too.
    """
    if not torch.is_grad_enabled() or is_reference() or is_exported():
        return compute(*inputs)
    if is_transformed() or torch._C._functorch.get_dynamic_layer_stack_depth() > 0:  # when compiled, too
        return compute(*inputs)
    return checkpoint(compute, *inputs, use_reentrant=False, preserve_rng_state=False)


def recomputed_on_gpu(compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The same where memory is scarce and arithmetic is not."""
    return recomputed(compute, *inputs) if is_on_gpu(inputs[0]) else compute(*inputs)


def recomputed_if_compiled(compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The same for copies that a compiler would keep; in eager form whatever takes them keeps them anyway."""
    return recomputed_on_gpu(compute, *inputs) if is_compiled() else compute(*inputs)


def derived_again(out: Tensor, inputs: tuple[Tensor | None, ...], gradient: Tensor) -> tuple[Tensor | None, ...]:
    """What a backward gives to each input, where it is derived itself.

    Args:
        out: Computed from the inputs by functions that can be derived twice.
        inputs: Those that want no gradient get None.
        gradient: As ``out``.
    """
    wanted = [each for each in inputs if each is not None and each.requires_grad]
    found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
    return tuple(next(found) if each is not None and each.requires_grad else None for each in inputs)
