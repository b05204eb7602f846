"""Leave a part of a network as it is while the rest learns."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Literal

from torch import nn

from dat_cli.errors import UsageError

Frozen = Literal["backbone"] | int | None


def freeze(network: nn.Module, what: Frozen) -> None:
    """Freeze a part of a network of ours, for good.

    Its parameters need no gradient, and it stays in evaluation mode whatever mode the whole is put into: weights that
    do not learn have no use for stochastic depth.

    Args:
        network: A ``DAT``.
        what: ``backbone`` for all but the head; a number for the stem and so many first stages, 0 for the stem alone;
            None for nothing.

    Raises:
        UsageError: There is no such part.
    """
    if what is None:
        return
    for part in _parts(network, what):
        part.requires_grad_(False)
        part.eval()
        for module in part.modules():
            # A bound method and no closure: a copy of the network, such as an average of its weights, has its own.
            module.train = MethodType(_stay, module)  # type: ignore[method-assign]  # of this one object


def _parts(network: nn.Module, what: Literal["backbone"] | int) -> Iterator[nn.Module]:
    stages = list(network.get_submodule("stages").children())
    if what == "backbone":
        head = network.get_classifier()  # type: ignore[operator]  # nn.Module types any attribute as a Tensor
        yield from (part for part in network.children() if part is not head)
    elif isinstance(what, int) and not isinstance(what, bool) and 0 <= what <= len(stages):
        yield network.get_submodule("stem")
        yield from stages[:what]
    else:
        raise UsageError(
            f"model.freeze is {what}",
            hint=f"it must be backbone, or how many stages after the stem: 0 to {len(stages)}",
        )


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001 - the signature of nn.Module.train
    return module
