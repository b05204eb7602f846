"""How several processes train one network: each with all of it (DDP), or each with a share (FSDP)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    ParallelStrategy,
    Strategy,
    StrategyRegistry,
)
from torch import Tensor
from torch.optim import Optimizer

from dat_cli.errors import UsageError
from dat_cli.train.processes import Launcher, meet, tell_of
from dat_cli.train.sharding import tensor_like, whole_tensor, whole_tensors

STRATEGIES = ("auto", "ddp", "fsdp")
PATIENCE = timedelta(minutes=30)  # for a process that is slower than the others, as while it checks its images


def strategy_named(name: str) -> Strategy | str:
    """What Lightning's Trainer is given for ``--trainer.strategy``.

    Lightning's own ``fsdp`` is the first generation, for GPUs alone. Its ``ddp``, which ``auto`` chooses for several
    devices, is replaced by ours.

    Raises:
        UsageError: There is no such strategy.
    """
    StrategyRegistry.register("ddp", Replicated, description="A whole network in each process", override=True)
    if name not in STRATEGIES:
        raise UsageError(f"trainer.strategy is {name!r}", hint=f"it must be one of {', '.join(STRATEGIES)}")
    return Sharded() if name == "fsdp" else name


class _Together(ParallelStrategy):
    """What both have in common: processes that wait for each other, and that do not outlive each other."""

    num_processes: int
    num_nodes: int

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None  # noqa: S101 - Lightning has set it by now
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_environment(self) -> None:
        """Connect the processes."""
        assert self.accelerator is not None  # noqa: S101
        assert self.cluster_environment is not None  # noqa: S101
        self.accelerator.setup_device(self.root_device)
        meet(self.cluster_environment, self.root_device, patience=PATIENCE)
        super().setup_environment()

    def on_exception(self, exception: BaseException) -> None:
        """Let the others know that the reason is being told."""
        tell_of(exception)
        super().on_exception(exception)


class Replicated(_Together, DDPStrategy):
    """Each process has the whole network and a share of each batch; gradients are averaged."""

    def __init__(self) -> None:
        super().__init__(timeout=PATIENCE, gradient_as_bucket_view=True)


class Sharded(_Together, ModelParallelStrategy):
    """Each process has a share of each parameter, gradient and moment, see ``sharding.shard``.

    Checkpoints are those of one device: whole tensors in one file, so that any number of devices can go on.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False, timeout=PATIENCE)

    def setup_environment(self) -> None:
        """Connect the processes, all of them in the one dimension along which parameters are divided."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands the optimizer's state over once it has read the file."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors in the first process, nothing in the others."""
        assert self.lightning_module is not None  # noqa: S101
        return whole_tensors(self.lightning_module.state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file as with one device: each process takes its share of it."""
        return Strategy.load_checkpoint(self, self.broadcast(checkpoint_path), weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's share of each tensor."""
        assert self.lightning_module is not None  # noqa: S101
        here = self.lightning_module.state_dict()
        shares = {
            name: tensor_like(tensor, here[name]) if name in here else tensor
            for name, tensor in checkpoint["state_dict"].items()
        }
        self.lightning_module.load_state_dict(shares, strict=strict)

    def optimizer_state(self, optimizer: Optimizer | LightningOptimizer) -> dict[str, Any]:
        """Whole moments by the numbers that any optimizer gives its parameters."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = plain.state_dict()
        moments = {
            number: {name: whole_tensor(value) if isinstance(value, Tensor) else value for name, value in of.items()}
            for number, of in state["state"].items()
        }
        return {**state, "state": moments} if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's share of each moment."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            moments = {
                number: {name: _share(value, parameters[number]) for name, value in of.items()}
                for number, of in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": moments})


def _share(value: object, parameter: Tensor) -> object:
    """Moments have the shape of their parameter; a count of steps has none."""
    whole = isinstance(value, torch.Tensor) and value.shape == parameter.shape
    return tensor_like(value, parameter) if whole else value  # type: ignore[arg-type]  # a tensor, see above
