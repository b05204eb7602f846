"""Whether the network or the loading of data bounds a fit, by measuring each alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dat_cli.benchmark.pipeline import PipelineRate, measure_pipeline
from dat_cli.benchmark.results import Cell, Conditions
from dat_cli.data.module import ImageDataModule


@dataclass(frozen=True)
class Loading:
    """The pipeline alone, at one size of images and batches.

    Attributes:
        image_size: Height and width in pixels.
        batch_size: Images in a batch.
        rates: By number of workers; the last is what a fit takes.
    """

    image_size: int
    batch_size: int
    rates: list[PipelineRate]


@dataclass(frozen=True)
class Bound:
    """Which of the two is slower.

    Attributes:
        network: Its label.
        conditions: Of its training step.
        learns_per_s: Images of which the network alone learns in a second.
        workers: Processes that load, in a fit.
        loads_per_s: Images that these alone load in a second.
        bound: The slower of the two.
    """

    network: str
    conditions: Conditions
    learns_per_s: float
    workers: int
    loads_per_s: float
    bound: Literal["network", "pipeline"]

    def __str__(self) -> str:
        """As a sentence."""
        load = {0: "loading in the same process", 1: "1 worker"}.get(self.workers, f"{self.workers} workers")
        gives = "gives" if self.workers < 2 else "give"
        return (
            f"{self.network}, {self.conditions}: the {self.bound} bounds a fit; "
            f"the network alone learns from {self.learns_per_s:.3g} images/s, "
            f"{load} alone {gives} {self.loads_per_s:.3g}"
        )


def measure_loading(source: str, image_sizes: Sequence[int], batch_sizes: Sequence[int]) -> Iterator[Loading]:
    """How many images a second come from a source, as training reads it, by number of workers; size after size.

    Raises:
        DataError: The source cannot be used.
    """
    opened = ImageDataModule(source).source
    for size in image_sizes:
        for batch in batch_sizes:
            yield Loading(size, batch, measure_pipeline(opened, image_size=size, batch_size=batch))


def find_bounds(cells: Iterable[Cell], loading: Sequence[Loading]) -> list[Bound]:
    """What bounds a fit of each network that was trained, compared at the same sizes."""
    rates = {(each.image_size, each.batch_size): each.rates[-1] for each in loading}
    found = []
    for cell in cells:
        rate = rates.get((cell.conditions.image_size, cell.conditions.batch_size))
        for measurement in cell.measurements:
            learns = measurement.images_per_s
            if cell.conditions.task == "training" and rate is not None and learns is not None:
                slower: Literal["network", "pipeline"] = "network" if learns <= rate.samples_per_s else "pipeline"
                found.append(
                    Bound(measurement.label, cell.conditions, learns, rate.workers, rate.samples_per_s, slower)
                )
    return found
