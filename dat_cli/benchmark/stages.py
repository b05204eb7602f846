"""What each step from a file to a batch costs one worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from dat_cli.data.batch import Item, collate
from dat_cli.data.crop import cut
from dat_cli.data.dataset import ImageDataset
from dat_cli.data.image import load_enough
from dat_cli.data.module import ImageDataModule
from dat_cli.data.randomness import seeded
from dat_cli.data.stream_batches import StreamBatches
from dat_cli.data.transforms import TrainTransform
from dat_cli.data.walk import printable
from dat_cli.errors import DataError
from dat_cli.train.mixing import Mixing, MixingConfig

_NAMES = {
    "RandomHorizontalFlip": "mirror",
    "Compose": "distort",  # timm's policy, or jitter of colours
    "Grayscale": "grey",
    "Normalize": "normalize",
    "RandomErasing": "erase",
}


@dataclass(frozen=True)
class StageCost:
    """What one step costs.

    Attributes:
        name: ``read``, ``decode``, ``crop``, ``mirror``, ``distort``, ``grey``, ``normalize``, ``erase`` or
            ``collate``, which workers do, or ``mix``, which the process that trains does.
        ms: Milliseconds for each picture, the mean over pictures of a random step that often does nothing.
    """

    name: str
    ms: float


def stage_costs(
    source: str,
    *,
    image_size: int,
    batch_size: int,
    images: int = 128,
    rounds: int = 5,
    options: Mapping[str, Any] | None = None,
    mixing: MixingConfig | None = None,
) -> list[StageCost]:
    """Take pictures through training's steps one by one, on one thread as a worker does.

    Args:
        source: As of ``ImageDataModule``.
        image_size: Height and width of the network's input.
        batch_size: Pictures in a batch.
        images: How many different pictures, where there are as many.
        rounds: How often; the median counts, so that other work on the machine does not.
        options: Others of ``ImageDataModule``, as its augmentations.
        mixing: How batches are mixed.

    Returns:
        The steps in their order, without those that are not taken.

    Raises:
        DataError: The source cannot be used, or a picture is damaged.
        UsageError: An option is out of range.
    """
    data = ImageDataModule(source, image_size=image_size, batch_size=batch_size, num_workers=0, **(options or {}))
    dataset = data.train_dataloader().dataset
    assert isinstance(dataset, (ImageDataset, StreamBatches))  # noqa: S101 - for the type checker
    mix = Mixing(mixing, data.num_classes, label_smoothing=0.0) if mixing and mixing.mixes else None
    with _one_thread():
        measured = [_round(dataset, images, batch_size, mix) for _ in range(rounds)]
    return [StageCost(name, median(one[name] for one in measured)) for name in measured[0]]


def _round(dataset: ImageDataset | StreamBatches, images: int, batch_size: int, mix: Mixing | None) -> dict[str, float]:
    """Milliseconds of each step for each picture."""
    clock = _Clock()
    items: list[Item] = []
    originals = _originals(dataset, images)
    while True:
        with clock.runs("read"):
            original = next(originals, None)
        if original is None:
            break
        with seeded(len(items)):
            items.append(Item(_transformed(original, dataset.transform, clock), 0, original.name))
    for first in range(0, len(items), batch_size):
        with clock.runs("collate"):
            batch = collate(items[first : first + batch_size])
        if mix is not None:
            with clock.runs("mix"):
                mix(batch.images, batch.labels)
    return {name: 1000 * seconds / len(items) for name, seconds in clock.seconds.items()}


class _Original(NamedTuple):
    """A picture as it lies in its source: decoded already, or the bytes of a file."""

    picture: Image.Image | bytes
    name: str


def _originals(dataset: ImageDataset | StreamBatches, images: int) -> Iterator[_Original]:
    if isinstance(dataset, StreamBatches):
        counts = dataset.stream.counts
        largest = max(range(len(counts)), key=counts.__getitem__)
        for _, record in dataset.stream.read(largest, iter(range(min(images, counts[largest])))):
            yield _Original(record.image, record.name)
        return
    for place in range(0, len(dataset), max(1, len(dataset) // images))[:images]:
        image = dataset.samples[place].image
        yield _Original(_bytes(image), str(image)) if isinstance(image, Path) else _Original(image, "")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {printable(path)}: {error.strerror}") from error


def _transformed(original: _Original, transform: object, clock: _Clock) -> Tensor:
    """As ``transforms.read``, a step after the other."""
    assert isinstance(transform, TrainTransform)  # noqa: S101 - for the type checker
    if isinstance(original.picture, Image.Image):
        picture, crop = original.picture, transform.choose(original.picture.size)
    else:
        with clock.runs("decode"):
            picture, crop = load_enough(BytesIO(original.picture), transform.choose, original.name)
    with clock.runs("crop"):
        result: Any = cut(picture, crop)
    for step in transform.transforms[1:]:
        with clock.runs(_NAMES[type(step).__name__]):
            result = step(result)
    return result


class _Clock:
    """How long steps took together, by their names in the order in which they were first taken."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def runs(self, step: str) -> Iterator[None]:
        begin = perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + perf_counter() - begin


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch's threads are for networks: a worker has one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
