"""Images from paths, decoded and transformed, in batches and in order, for prediction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dat_cli.catalog import Preprocessing
from dat_cli.data.machine import default_workers
from dat_cli.data.open_image import STANDARD_INPUT, Fetch, open_image, piped
from dat_cli.data.shard_addresses import is_remote
from dat_cli.data.transforms import crops_transform, eval_transform
from dat_cli.data.workers import outlive_signals
from dat_cli.errors import DataError, HubError

Crops: TypeAlias = Literal[1, 5]

_AT_ONCE = 8  # addresses that one process asks for; each may keep 128 MiB in memory
_ENOUGH = 1000  # images; more do not want more workers


class File(NamedTuple):
    """One file on its way: its place among all files, its path, and what is wrong with it, if anything."""

    number: int
    path: str
    error: str | None = None


class Batch(NamedTuple):
    """Images (B, crops, C, H, W) of those files that could be read, and all files in order."""

    images: Tensor
    files: list[File]


Decoded: TypeAlias = "tuple[File, Tensor | None]"


class PredictionData(LightningDataModule):
    """Images from paths, decoded and transformed as in evaluation, in batches and in order.

    With several processes, each takes every so-many-eth batch and no image twice.

    Args:
        paths: Paths, iterated lazily and from the start by each process; all must see the same.
        preprocessing: How a picture becomes the network's input.
        batch_size: Images in a batch.
        num_workers: Processes that decode; None for what suits the machine.
        crops: 1 for what evaluation sees, 5 for the corners and the centre.
    """

    def __init__(
        self,
        paths: Iterable[str],
        preprocessing: Preprocessing,
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        crops: Crops = 1,
    ) -> None:
        super().__init__()
        self.paths = paths
        self.preprocessing = preprocessing
        self.crops = crops
        self.decode = Decode(preprocessing, crops=crops)
        self.batch_size = batch_size
        self.num_workers = num_workers

    def predict_dataloader(self) -> _Stream:
        """The batches of this process."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        workers = self._workers(processes) if self.num_workers is None else self.num_workers
        return _Stream(self, rank, processes, workers)

    def _workers(self, processes: int) -> int:
        few = list(islice(self.paths, _ENOUGH))  # counting them all would be walking them twice
        channels, height, width = self.preprocessing.input_size
        batch_bytes = self.batch_size * self.crops * channels * height * width * 4
        return default_workers(len(few), batch_bytes, processes)


class Decode(Dataset[Decoded]):
    """A data set whose keys are the files themselves, so that their list need not exist anywhere.

    What came on standard input goes with it to the processes that decode, which have none.

    Args:
        preprocessing: How a picture becomes the network's input.
        crops: How many parts of it become inputs.
    """

    def __init__(self, preprocessing: Preprocessing, *, crops: Crops = 1) -> None:
        self.transform: Callable[[Image.Image], Tensor] = (
            eval_transform(preprocessing) if crops == 1 else crops_transform(preprocessing)
        )
        self._piped = piped()

    def __getitem__(self, file: File) -> Decoded:
        """The file's image (crops, C, H, W), or the file with what is wrong with it."""
        return self._decoded(file, None)

    def __getitems__(self, files: list[File]) -> list[Decoded]:
        """Those of a batch, whose addresses are asked for at the same time."""
        addresses = (file.path for file in files if is_remote(file.path))
        asked = deque(map(Fetch, islice(addresses, _AT_ONCE)))
        decoded = []
        for file in files:
            fetch = asked.popleft() if is_remote(file.path) else None
            decoded.append(self._decoded(file, fetch))
            if fetch is not None:
                asked.extend(map(Fetch, islice(addresses, 1)))
        return decoded

    def _decoded(self, file: File, fetch: Fetch | None) -> Decoded:
        try:
            known = fetch.result() if fetch is not None else self._piped if file.path == STANDARD_INPUT else None
            views = self.transform(open_image(file.path, known))
            return file, views if views.dim() == 4 else views[None]
        except (DataError, HubError) as error:
            return file._replace(error=error.message), None


class _Stream:
    """Batches of one process.

    Not a DataLoader, because Lightning would look for indices in it to divide and to remember.
    """

    def __init__(self, data: PredictionData, rank: int, processes: int, workers: int) -> None:
        self.data = data
        self.rank = rank
        self.processes = processes
        self.workers = workers

    def __iter__(self) -> Iterator[Batch]:
        yield from DataLoader(
            self.data.decode,
            batch_sampler=self._files(),  # any iterable of lists of keys serves
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=outlive_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def _files(self) -> Iterator[list[File]]:
        numbered = (File(number, path) for number, path in enumerate(self.data.paths))
        turn = 0
        while files := list(islice(numbered, self.data.batch_size)):
            if turn % self.processes == self.rank:
                yield files
            turn += 1


def _collate(decoded: list[Decoded]) -> Batch:
    images = [image for _, image in decoded if image is not None]
    return Batch(default_collate(images) if images else torch.empty(0), [file for file, _ in decoded])
