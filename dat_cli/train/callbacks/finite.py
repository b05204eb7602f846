"""Stop where a loss or a gradient is not finite: nothing after it can be of use."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from dat_cli.data.batch import Batch
from dat_cli.data.walk import printable
from dat_cli.errors import DatError

SKIPPED = 40  # steps in a row that the scaler of float16 may leave out; each halves its scale
SHOWN = 5  # names in an error
HINT = "look at these images; else lower --model.optimizer.lr, or train with --trainer.precision 32-true or bf16-mixed"


class NotFinite(Callback):
    """Looks at each loss and at the norm of each gradient: at once on a CPU, elsewhere a step late, without waiting.

    Who finds something is asked for by ``found``; that all processes stop together is not its business.
    """

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()
        self._open = _Step()
        self._skipped = 0
        self.bad: _Step | None = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Measure the gradient, of which scaling has been taken away and which is not clipped yet."""
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        self._open.norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keep what a step is judged by."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self._open.losses.append(loss.detach())
        self._open.names.append([str(name) for name in batch.names])
        if trainer.fit_loop._should_accumulate():
            return
        self._open.place = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step} (batch {batch_idx + 1})"
        self._open.send()
        self._steps.append(self._open)
        self._open = _Step()

    def found(self, trainer: Trainer, *, wait: bool) -> bool:
        """Whether a step was not finite.

        Args:
            trainer: What trains.
            wait: Look at the last step too, although the device may still be at it.
        """
        keep = 0 if wait or not self._steps or self._steps[-1].event is None else 1
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        while self.bad is None and len(self._steps) > keep:
            step = self._steps.popleft()
            loss, norm = step.values()
            self._skipped = self._skipped + 1 if math.isfinite(loss) and not math.isfinite(norm) else 0
            if not math.isfinite(loss) or self._skipped > (SKIPPED if scaled else 0):
                self.bad = step
        return self.bad is not None

    def finding(self) -> Finding | None:
        """What is wrong; None where this process has found nothing."""
        if self.bad is None:
            return None
        loss, norm = self.bad.values()
        batches = list(zip(self.bad.names, self.bad.losses_now(), strict=True))
        guilty = [name for names, value in batches if not math.isfinite(value) for name in names]
        if guilty:
            return Finding(f"the loss is {loss} in {self.bad.place}", True, guilty)
        return Finding(
            f"the norm of the gradient is {norm} in {self.bad.place}", False, [x for names, _ in batches for x in names]
        )


class Finding(NamedTuple):
    """What is not finite, and where."""

    what: str
    is_loss: bool
    names: list[str]
    """Of the images of the batches whose loss it is; where only the gradient is, of all batches of the step."""


def not_finite(findings: Sequence[Finding | None]) -> tuple[DatError, list[str]]:
    """The error for what the processes found, and the names of all images that may be the reason.

    Args:
        findings: Of each process; a loss that is not finite spoils the gradient of all of them.
    """
    found = sorted((finding for finding in findings if finding is not None), key=lambda finding: not finding.is_loss)
    names = [name for finding in found if finding.is_loss == found[0].is_loss for name in finding.names if name]
    shown = ", ".join(printable(name) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return DatError(f"{found[0].what}, with {shown}{more}", hint=HINT), names


def require_finite(tensors: Mapping[str, Any], consequence: str) -> None:
    """Refuse weights that no file may hold.

    Args:
        tensors: By their names; other values are passed over.
        consequence: What is not done with them.

    Raises:
        DatError: Some are not finite.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DatError(
                f"the weights are not finite any more ({name}), so that {consequence}",
                hint="lower --model.optimizer.lr, or train with --trainer.precision 32-true or bf16-mixed",
            )


@dataclass
class _Step:
    """Losses of the batches of an optimizer step and the norm of its gradient, on their way to the CPU."""

    losses: list[Tensor] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    norm: Tensor | None = None
    place: str = ""
    event: Any = None
    _sent: Tensor | None = None

    def send(self) -> None:
        """Start to copy; a pinned place and an event, because reading a value would wait for the device."""
        norm = self.losses[0].new_zeros(()) if self.norm is None else self.norm
        values = torch.stack([value.float().reshape(()) for value in (norm.to(self.losses[0].device), *self.losses)])
        self.losses, self.norm = [], None
        self._sent = values
        if values.is_cuda:
            self._sent = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._sent.copy_(values, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()

    def values(self) -> tuple[float, float]:
        """A loss, that of the first batch whose is not finite if there is one, and the norm of the gradient."""
        losses = self.losses_now()
        return next((loss for loss in losses if not math.isfinite(loss)), losses[-1]), self._arrived()[0]

    def losses_now(self) -> list[float]:
        return self._arrived()[1:]

    def _arrived(self) -> list[float]:
        if self.event is not None:
            self.event.synchronize()
        assert self._sent is not None  # noqa: S101 - of a type; send() comes first
        values: list[float] = self._sent.tolist()
        return values
