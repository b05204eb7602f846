"""Labelled pictures as a data set for PyTorch's loader."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from dat_cli.data.image import load_image
from dat_cli.data.samples import Samples
from dat_cli.data.transforms import Transform
from dat_cli.errors import DataError


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Decodes and transforms one picture at a time.

    Args:
        samples: The pictures.
        transform: From a picture to a (C, H, W) tensor.
    """

    def __init__(self, samples: Samples, transform: Transform) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A (C, H, W) tensor and its label.

        Raises:
            UnreadableImageError: The file became unreadable; names it.
        """
        image, label = self.samples[index]
        if isinstance(image, Path):
            try:
                image = load_image(image)
            except DataError as error:
                raise UnreadableImageError(error.message) from error
        return self.transform(image), label


class UnreadableImageError(DataError):
    """A picture could not be read while a loader ran, perhaps in another process.

    PyTorch carries an error over from a worker by making it anew with the whole traceback as its message; of that
    only the last line, which names the file, is for people.

    Args:
        message: One line, or such a traceback.
    """

    def __init__(self, message: str) -> None:
        marker = f"{type(self).__name__}: "
        last_line = message.rstrip().rpartition("\n")[2]
        super().__init__(last_line.rpartition(marker)[2] if marker in last_line else message)
