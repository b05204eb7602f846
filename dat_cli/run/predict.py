"""Prediction: images through the network to class probabilities, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from dat_cli.data.walk import printable
from dat_cli.errors import DatError
from dat_cli.run.batches import Batch


class Prediction(LightningModule):
    """Class probabilities of a network.

    Args:
        network: Images (B, C, H, W) to logits (B, classes).
        temperature: What logits are divided by, see ``train.calibration``.
        flip: Look at the mirror image of each crop too.
    """

    def __init__(self, network: nn.Module, *, temperature: float = 1.0, flip: bool = False) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.flip = flip

    def predict_step(self, batch: Batch) -> Tensor:
        """Probabilities (B, classes) in float32 of the images that could be read: the mean over an image's views.

        The network is given one view after another, so that more of them need no more memory.

        Raises:
            DatError: The network gave something that is no number.
        """
        if not len(batch.images):
            return batch.images.new_zeros((0, 0))
        probabilities = torch.stack([self._of_view(view) for view in self._views(batch.images)]).mean(0)
        require_finite(probabilities, batch)
        return probabilities

    def _views(self, images: Tensor) -> Iterator[Tensor]:
        for crop in images.unbind(1):
            yield crop
            if self.flip:
                yield crop.flip(-1)

    def _of_view(self, images: Tensor) -> Tensor:
        probabilities: Tensor = (self.network(images).float() / self.temperature).softmax(-1)
        return probabilities


def require_finite(output: Tensor, batch: Batch) -> None:
    """Refuse what is no number.

    Raises:
        DatError: There is some; names files of the batch.
    """
    if not output.isfinite().all():
        names = ", ".join(printable(file.path) for file in batch.files[:3])
        raise DatError(f"the network's output is not finite, near {names}", hint="try --trainer.precision 32-true")
