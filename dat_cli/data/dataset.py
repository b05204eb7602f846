"""Labelled pictures as a data set for PyTorch's loader."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Dataset

from dat_cli.data.batch import Item, padding
from dat_cli.data.order import NOTHING, Draw
from dat_cli.data.randomness import seeded
from dat_cli.data.samples import Samples
from dat_cli.data.transforms import Transform, read
from dat_cli.errors import DataError


class ImageDataset(Dataset[Item]):
    """Decodes and transforms one picture at a time.

    Args:
        samples: The pictures.
        transform: From a picture to a (C, H, W) tensor.
        shape: The (C, H, W) of that.
    """

    def __init__(self, samples: Samples, transform: Transform, shape: tuple[int, int, int]) -> None:
        self.samples = samples
        self.transform = transform
        self.shape = shape

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Item:
        """A (C, H, W) tensor, its label and its name; whatever is random in it comes from the draw's seed.

        Raises:
            UnreadableImageError: The file became unreadable; names it.
        """
        if draw.sample == NOTHING:
            return padding(self.shape)
        image, label = self.samples[draw.sample]
        name = str(image) if isinstance(image, Path) else f"image {draw.sample}"
        try:
            with seeded(draw.seed):
                return Item(read(image, self.transform), label, name)
        except DataError as error:
            raise UnreadableImageError(error.message) from error


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
