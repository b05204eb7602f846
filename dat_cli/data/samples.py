"""Labelled pictures and where they come from, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from PIL import Image

from dat_cli.catalog import Preprocessing

if TYPE_CHECKING:
    from dat_cli.data.stream import Stream


class Sample(NamedTuple):
    """One picture and the index of its class.

    Attributes:
        image: Where it lies, or the picture itself where it came from no file.
        label: Index into the classes of its source.
    """

    image: Path | Image.Image
    label: int


@dataclass(frozen=True)
class Samples(Sequence[Sample]):
    """Labelled pictures in a fixed order; nothing is decoded.

    Attributes:
        images: The pictures or their paths.
        labels: The class of each.
    """

    images: tuple[Path | Image.Image, ...] = ()
    labels: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return Samples(self.images[index], self.labels[index])
        return Sample(self.images[index], self.labels[index])

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that are files."""
        return tuple(image for image in self.images if isinstance(image, Path))

    def without(self, paths: set[Path]) -> Samples:
        """The same without some files."""
        return Samples.of(sample for sample in self if sample.image not in paths)

    @staticmethod
    def of(samples: Iterable[Sample]) -> Samples:
        """From single ones."""
        chosen = tuple(samples)
        return Samples(tuple(sample.image for sample in chosen), tuple(sample.label for sample in chosen))


@dataclass(frozen=True)
class Source:
    """Everything that a data set says about itself.

    Attributes:
        name: ``digits``, the folder, or where a stream comes from.
        classes: Names of the classes; labels are indices into it.
        train: To learn from.
        val: To measure on during training.
        test: To measure on at the end; None where there is no such part.
        preprocessing: What suits such pictures when nothing else is known.
        crop_scale: Smallest and largest part of a picture's area that a random crop takes.
        flip: Probability of a mirrored picture in training.
    """

    name: str
    classes: tuple[str, ...]
    train: Samples | Stream = field(repr=False)
    val: Samples | Stream = field(repr=False)
    test: Samples | Stream | None = field(repr=False)
    preprocessing: Preprocessing
    crop_scale: tuple[float, float]
    flip: float
