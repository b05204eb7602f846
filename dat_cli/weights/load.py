"""Tensors into a network, all of them and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dat_cli.errors import WeightsError
from dat_cli.weights.problems import some

if TYPE_CHECKING:
    from torch import Tensor, nn

_FLOATS = ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")
_LISTED = 10


def load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy all tensors into the network, after ``check_tensors``.

    Args:
        network: What the tensors are for.
        tensors: Tensors by the network's own names.
        source: The file they come from, for errors.

    Raises:
        WeightsError: They do not fit; names a few and counts the rest.
    """
    import torch

    check_tensors(network, tensors, source=source)
    with torch.no_grad():
        network.load_state_dict(dict(tensors), strict=True)


def check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """See that all names and shapes fit and all values are finite.

    A NaN or an infinity is refused because the file loads silently without it, and every answer is then wrong:
    safetensors has no checksum, so that one flipped bit arrives here.

    Args:
        network: What the tensors are for; its own may be on the device ``meta``.
        tensors: Tensors by the network's own names.
        source: The file they come from, for errors.

    Raises:
        WeightsError: They do not fit; names a few and counts the rest.
    """
    own = network.state_dict()
    fitting = {name: tensors[name] for name in own if name in tensors and tensors[name].shape == own[name].shape}
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in tensors and name not in fitting
        ],
        "of another type": [
            f"{name} {str(tensor.dtype).removeprefix('torch.')}"
            for name, tensor in fitting.items()
            if own[name].is_floating_point() and str(tensor.dtype) not in _FLOATS
        ],
        # Of the others, one could claim to be larger than the memory.
        "not finite": [
            name
            for name, tensor in fitting.items()
            if str(tensor.dtype) in _FLOATS and not tensor.to(own[name].dtype).isfinite().all()
        ],
    }
    found: list[str] = []
    for problem, names in problems.items():
        if names:
            noun = "" if found else "tensor " if len(names) == 1 else "tensors "
            found.append(f"{len(names)} {noun}{problem} ({some(names, _LISTED)})")
    if found:
        raise WeightsError(f"{source} does not fit the network: {', '.join(found)}")
