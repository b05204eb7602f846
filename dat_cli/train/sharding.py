"""A network whose parameters lie in parts on all devices (FSDP), and its tensors made whole again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dat_cli.models.dat import DAT


def shard(network: DAT, mesh: DeviceMesh) -> None:
    """Divide each parameter among the devices; names and shapes stay those of the whole network.

    A block is gathered when it runs and let go afterwards, so that a device holds its share and one whole block.

    Args:
        network: What is trained; sharded in place, once.
        mesh: The devices, in one dimension.
    """
    if isinstance(network, FSDPModule):
        return
    for stage in network.stages:
        for block in stage.blocks:  # type: ignore[union-attr]  # a ModuleList yields Modules, a Stage has blocks
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, those that lie in parts gathered; every process has to ask for them at the same time.

    Returns:
        Whole tensors, gathered ones on the CPU; nothing where this process is not the first and gathers for it.
    """
    first = not (torch.distributed.is_available() and torch.distributed.is_initialized()) or (
        torch.distributed.get_rank() == 0
    )
    gathered: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole_tensor(tensor)
        if first or not isinstance(tensor, DTensor):
            gathered[name] = value
    return gathered


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor gathered to the CPU if it lies in parts, else itself."""
    return tensor.full_tensor().detach().cpu() if isinstance(tensor, DTensor) else tensor


def tensor_like(tensor: Tensor, example: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds of ``example``, or the tensor where that is whole."""
    if not isinstance(example, DTensor):
        return tensor
    local = tensor.to(example.device)
    return distribute_tensor(local, example.device_mesh, example.placements)
