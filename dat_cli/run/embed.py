"""From images to vectors: what a network knows of an image before it is classified."""

from __future__ import annotations

import heapq
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from dat_cli.data.walk import printable
from dat_cli.models import DAT
from dat_cli.run.batches import Batch, File
from dat_cli.run.predict import require_finite
from dat_cli.run.vectors import Vectors, Write

_log = logging.getLogger("dat.embed")
_SECONDS_BETWEEN_NOTES = 10.0


class Embedding(LightningModule):
    """The features that a network classifies.

    Args:
        network: What they are taken from.
        normalize: Make each vector as long as 1, so that a product of two is the cosine of the angle between them.
    """

    def __init__(self, network: DAT, *, normalize: bool = False) -> None:
        super().__init__()
        self.network = network
        self.normalize = normalize

    def predict_step(self, batch: Batch) -> Tensor:
        """The last map's mean over positions, (B, features) in float32, of the images that could be read.

        Raises:
            DatError: The network gave something that is no number.
        """
        if not len(batch.images):
            return batch.images.new_zeros((0, self.network.num_features))
        features = self.network.forward_features(batch.images[:, 0])
        features = self.network.forward_head(features, pre_logits=True).float()
        require_finite(features, batch)
        return F.normalize(features, dim=1) if self.normalize else features


class Embeddings(Callback):
    """Writes the vectors of each batch as soon as it is done, in the order of the images.

    With several processes each spools its batches to the disk, and the first merges them at the end.

    Args:
        write: What takes paths and vectors; used by the first process only.
        size: Of a vector.
        spool_in: Folder that all processes can reach.

    Attributes:
        images: How many there were.
        failed: How many of them could not be read, which are named and left out.
    """

    def __init__(self, write: Write, size: int, *, spool_in: Path) -> None:
        self.write = write
        self.size = size
        self.spool_in = spool_in
        self.images = self.failed = 0
        self._folder: Path | None = None
        self._spool: _Spool | None = None
        self._started = self._noted = time.monotonic()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002 - Lightning's signature
        """Open this process's spool, if there are several processes."""
        self._started = self._noted = time.monotonic()
        if trainer.world_size > 1:
            made = tempfile.mkdtemp(prefix=".dat-embed-", dir=self.spool_in) if trainer.is_global_zero else ""
            self._folder = Path(trainer.strategy.broadcast(made))
            self._spool = _Spool(self._folder, trainer.global_rank)

    def on_predict_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Write or spool a batch."""
        take = self._take if self._spool is None else self._spool.put
        take(batch.files, outputs.cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Merge the spools once all processes are done."""
        if self._spool is None or self._folder is None:
            return
        self._spool.close()
        trainer.strategy.barrier("spooled")
        if trainer.is_global_zero:
            spools = [_spooled(self._folder, rank, self.size) for rank in range(trainer.world_size)]
            for files, vectors in heapq.merge(*spools, key=lambda batch: batch[0][0].number):
                self._take(files, vectors)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Remove the spools, also after a failure."""
        if self._spool is not None:
            self._spool.close()
        if self._folder is not None and trainer.is_global_zero:
            shutil.rmtree(self._folder, ignore_errors=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Remove the spools."""
        self.teardown(trainer, pl_module, "predict")

    def _take(self, files: Sequence[File], vectors: Vectors) -> None:
        self.write([file.path for file in files if file.error is None], vectors)
        errors = [file.error for file in files if file.error is not None]
        for error in errors:
            _log.warning(printable(error))
        self.images += len(files)
        self.failed += len(errors)
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = now
            _log.info("%d images, %.1f each second", self.images, self.images / (now - self._started))


class _Spool:
    """The batches of one process on the disk: a line for the files of each, and all vectors one after another."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.files = (folder / f"{rank}.jsonl").open("w", encoding="ascii")
        self.vectors: BinaryIO = (folder / f"{rank}.f32").open("wb")

    def put(self, files: Sequence[File], vectors: Vectors) -> None:
        self.files.write(f"{json.dumps(files)}\n")
        self.vectors.write(vectors.tobytes())

    def close(self) -> None:
        self.files.close()
        self.vectors.close()


def _spooled(folder: Path, rank: int, size: int) -> Iterator[tuple[list[File], Vectors]]:
    with (folder / f"{rank}.jsonl").open(encoding="ascii") as lines, (folder / f"{rank}.f32").open("rb") as stream:
        for line in lines:
            files = [File(*entries) for entries in json.loads(line)]
            read = sum(file.error is None for file in files)
            yield files, np.fromfile(stream, np.float32, read * size).reshape(read, size)
