"""How many pictures a second the loading of data gives, with nobody who trains on them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from dat_cli.data.batch import PADDING, Batch
from dat_cli.data.loader import EpochLoader
from dat_cli.data.module import ImageDataModule
from dat_cli.data.samples import Source
from dat_cli.errors import UsageError


@dataclass(frozen=True)
class PipelineRate:
    """What some workers gave in some time.

    Attributes:
        workers: Processes that loaded; 0: the process itself.
        samples_per_s: Pictures a second, after a first batch of each worker.
        batches: How many batches that is the mean of.
        seconds: How long those took.
        first_batch_s: Seconds until the first batch, with the start of the workers.
    """

    workers: int
    samples_per_s: float
    batches: int
    seconds: float
    first_batch_s: float


def measure_pipeline(
    source: str | Source,
    *,
    image_size: int,
    batch_size: int,
    workers: Sequence[int] | None = None,
    seconds: float = 5.0,
    training: bool = True,
    options: Mapping[str, Any] | None = None,
) -> list[PipelineRate]:
    """Load batches as a fit does, and throw them away.

    Epochs follow one another where a source is small. Pictures are read from wherever the system has them, which is
    memory once they were read.

    Args:
        source: As of ``ImageDataModule``, or what one has opened.
        image_size: Height and width of the network's input.
        batch_size: Pictures in a batch.
        workers: Numbers of processes to measure; by default none, and as many as a fit would take.
        seconds: How long each is measured, at least one batch.
        training: Random crops and what else training does, or the validation part as evaluation sees it.
        options: Others of ``ImageDataModule``, as its augmentations.

    Returns:
        One rate for each number of workers, in the order given.

    Raises:
        DataError: The source cannot be used, or a picture is damaged.
        UsageError: An option is out of range.
    """
    if seconds <= 0:
        raise UsageError(f"seconds is {seconds}", hint="it must be more than 0")

    def module(count: int | None) -> ImageDataModule:
        return ImageDataModule(name, image_size=image_size, batch_size=batch_size, num_workers=count, **(options or {}))

    name = source if isinstance(source, str) else source.name
    opened = module(None).source if isinstance(source, str) else source

    def loader(count: int | None) -> EpochLoader:
        data = module(count)  # a new one, because a stream keeps to the first number of workers
        data.source = opened
        return data.train_dataloader() if training else data.val_dataloader()

    if workers is None:
        workers = sorted({0, loader(None).num_workers})
    return [_measure(loader(count), seconds) for count in workers]


def _measure(loader: EpochLoader, seconds: float) -> PipelineRate:
    """Workers start together, so that the first batches of all of them come at once: those count for nothing."""
    samples = batches = 0
    with closing(_endless(loader)) as stream:
        begin = perf_counter()
        next(stream)
        first = perf_counter() - begin
        for _ in range(loader.num_workers - 1):
            next(stream)
        begin = perf_counter()
        while (passed := perf_counter() - begin) < seconds or not batches:
            samples += int((next(stream).labels != PADDING).sum())
            batches += 1
    return PipelineRate(loader.num_workers, samples / passed, batches, passed, first)


def _endless(loader: EpochLoader) -> Generator[Batch, None, None]:
    """Epoch after epoch."""
    while True:
        yield from loader
