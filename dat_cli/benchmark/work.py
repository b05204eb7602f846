"""One call of a network, as prediction and training make it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from dat_cli.benchmark.results import Precision, Task
from dat_cli.ops.kept import bytes_beside
from dat_cli.train.optim import OptimizerConfig, build_optimizer

DTYPES: dict[Precision, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}

_STEPS = 100_000  # of a run whose learning rate stays at its beginning: the weights hardly move


class Work:
    """One call of a network on images that stay the same.

    Args:
        network: On its device.
        task: ``inference``, or a step of ``training``: forward, cross entropy, backward, AdamW.
        images: (B, 3, H, W), on the same device.
        precision: ``32``, or autocast to ``bf16`` or ``16``, the latter with scaled gradients.
    """

    def __init__(self, network: nn.Module, task: Task, images: Tensor, precision: Precision) -> None:
        self.network = network.train(task == "training")
        self._images, self._precision = images, precision
        generator = torch.Generator().manual_seed(0)
        self._labels = torch.randint(1000, (len(images),), generator=generator).to(images.device)
        self._optimizer, _ = build_optimizer(
            network, OptimizerConfig(), steps=_STEPS, epochs=_STEPS, total_batch=len(images)
        )
        self._scaler = torch.GradScaler(images.device.type, enabled=precision == "16")
        self.call: Callable[[], None] = self._learn if task == "training" else self._infer

    def kept_bytes(self) -> int:
        """What stays between calls: parameters, what inference keeps of them, buffers, and the optimizer's moments."""
        tensors = {id(each): each for each in (*self.network.parameters(), *self.network.buffers())}
        for state in self._optimizer.state.values():
            tensors |= {id(each): each for each in state.values() if isinstance(each, Tensor)}
        beside = bytes_beside(self.network.parameters())
        return beside + sum(each.untyped_storage().nbytes() for each in tensors.values())

    def forward_two(self) -> None:
        """A forward pass of two images, whose graph stands until the end in training."""
        with torch.set_grad_enabled(self.network.training), self._autocast():
            self.network(self._images[:2])

    def _infer(self) -> None:
        with torch.inference_mode(), self._autocast():
            self.network(self._images)

    def _learn(self) -> None:
        with self._autocast():
            logits = self.network(self._images)
            loss = F.cross_entropy(logits.float(), self._labels, label_smoothing=0.1)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def _autocast(self) -> AbstractContextManager[object]:
        enabled = self._precision != "32"
        return torch.autocast(self._images.device.type, DTYPES[self._precision] if enabled else None, enabled=enabled)
