"""Collect, batch by batch and over all processes, what a measurement finds out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from dat_cli.catalog import Preprocessing
from dat_cli.data.walk import printable
from dat_cli.report.findings import Findings, Mistake, Part

WORST = 24
"""Mistakes that are kept."""

_LONGEST_SIDE = 160  # pixels of a kept picture; smaller ones stay as they are
_LONGEST_NAME = 300  # characters


class FindingsCollector:
    """Counts what is taken for what, and keeps the mistakes that the network was most certain of.

    The counts stay on the device of the batches; of the pictures only the worst few are ever copied.

    Args:
        classes: Names of the classes, by index.
        part: Which part of the data is measured.
        worst: How many mistakes to keep.
    """

    def __init__(self, classes: Sequence[str], part: Part, *, worst: int = WORST) -> None:
        self.classes = tuple(classes)
        self.part: Part = part
        self.worst = worst
        self._confusion: Tensor | None = None
        self._mistakes: list[Mistake] = []

    def reset(self) -> None:
        """Forget everything."""
        self._confusion, self._mistakes = None, []

    def update(
        self, images: Tensor, logits: Tensor, labels: Tensor, names: Sequence[str], preprocessing: Preprocessing
    ) -> None:
        """Take a batch in.

        Args:
            images: What the network was given, (B, C, H, W).
            logits: What it answered, (B, classes).
            labels: The classes, (B,); entries below 0 only fill the batch up and are left out.
            names: What the pictures are called.
            preprocessing: How they were normalised.
        """
        probabilities = logits.detach().float().softmax(dim=1).nan_to_num(0.0)
        probability, predicted = probabilities.max(dim=1)
        real = labels >= 0
        if self._confusion is None:
            self._confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64, device=logits.device)
        self._confusion.index_put_((labels.clamp(min=0), predicted), real.to(torch.int64), accumulate=True)

        certainty = torch.where(real & (predicted != labels), probability, -1.0)
        top = certainty.topk(min(self.worst, len(certainty)))
        least = self._mistakes[-1].probability if len(self._mistakes) == self.worst else -1.0
        chosen = [index for index, value in zip(*_lists(top.indices, top.values), strict=True) if value > least]
        if not chosen:
            return
        rows = torch.tensor(chosen, device=logits.device)
        truth = labels[rows]
        found = zip(
            (names[index] for index in chosen),
            _pictures(images[rows], preprocessing),
            *_lists(truth, predicted[rows], probability[rows], probabilities[rows, truth]),
            strict=True,
        )
        mistakes = [Mistake(printable(name)[-_LONGEST_NAME:], *rest) for name, *rest in found]
        self._mistakes = _worst([*self._mistakes, *mistakes], self.worst)

    def compute(self, scores: Mapping[str, float] | None = None) -> Findings:
        """What all processes found; each of them has to call it.

        Args:
            scores: Kept with the findings; ``val_acc1`` is kept as ``acc1``.
        """
        size = len(self.classes)
        confusion, mistakes = self._confusion, self._mistakes
        if confusion is None:
            confusion = torch.zeros(size, size, dtype=torch.int64, device=_device())
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            confusion = confusion.clone()
            distributed.all_reduce(confusion)
            mistakes = _of_all(mistakes, self.worst)
        named = {name.removeprefix(f"{self.part}_"): value for name, value in (scores or {}).items()}
        return Findings(self.part, self.classes, confusion.cpu().numpy(), tuple(mistakes), named)


def _worst(mistakes: list[Mistake], count: int) -> list[Mistake]:
    return sorted(mistakes, key=_badness)[:count]


def _badness(mistake: Mistake) -> tuple[float, str]:
    return -mistake.probability, mistake.name  # the name makes the choice the same however the work is divided


def _of_all(mistakes: list[Mistake], count: int) -> list[Mistake]:
    """The worst of all processes; pictures travel only of those."""
    keys = _gather([_badness(mistake) for mistake in mistakes])
    chosen = set(sorted(key for share in keys for key in share)[:count])
    shares = _gather([mistake for mistake in mistakes if _badness(mistake) in chosen])
    return _worst([mistake for share in shares for mistake in share], count)


def _gather(value: Any) -> list[Any]:
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, value)
    return gathered


def _device() -> torch.device:
    """Where a process without any batch counts, so that the backend of the others can add to it."""
    nccl = distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def _pictures(images: Tensor, preprocessing: Preprocessing) -> list[npt.NDArray[np.uint8]]:
    """Pictures as people see them, made small: (N, C, H, W) normalised to N of (h, w, 3)."""
    mean, std = (
        torch.tensor(values, device=images.device).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    shown = (images.detach().float() * std + mean).nan_to_num(0.0).clamp(0, 1)
    scale = _LONGEST_SIDE / max(shown.shape[-2:])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in shown.shape[-2:]]
        shown = F.interpolate(shown, size=size, mode="bilinear", antialias=True)
    shown = (shown * 255).round().to(torch.uint8).cpu()
    return [image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy() for image in shown]


def _lists(*tensors: Tensor) -> list[list[Any]]:
    return [tensor.tolist() for tensor in tensors]
