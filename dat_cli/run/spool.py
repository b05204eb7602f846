"""From the network's output to records: directly where one process prints, by way of the disk otherwise."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import TextIO

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dat_cli.data.walk import printable
from dat_cli.run.batches import Batch
from dat_cli.run.part import Part
from dat_cli.run.records import Guess, Record, RecordWriter

_log = logging.getLogger("dat.predict")
_SECONDS_BETWEEN_NOTES = 10.0


class Predictions(Callback):
    """Writes the most probable classes of each image as soon as its batch is done.

    Nothing is ever held in memory. (Lightning's BasePredictionWriter would keep the index of every image.)

    Args:
        sink: What writes records, or where results stand until they are whole; several processes need the latter.
        classes: Class names.
        top_k: Classes of each image, at most all.
        threshold: The least probability of a class that is written.
    """

    def __init__(
        self,
        sink: RecordWriter | Part,
        classes: Sequence[str],
        *,
        top_k: int,
        threshold: float = 0.0,
    ) -> None:
        self.part = sink if isinstance(sink, Part) else None
        self.writer = None if isinstance(sink, Part) else sink
        self.classes = classes
        self.top_k = min(top_k, len(classes))
        self.threshold = threshold
        self._stream: TextIO | None = None
        self._parent = os.getppid()
        self._started = self._noted = time.monotonic()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Let all processes know where they write and what is done, before they look for images."""
        if self.part is None:
            return
        if trainer.is_global_zero:
            self.part.begin(trainer.world_size)
        self.part.agree(trainer.strategy.broadcast)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open what this process writes to."""
        self._started = self._noted = time.monotonic()
        if self.part is not None:
            self._stream = self.part.open(trainer.global_rank, trainer.world_size)
            self.writer = RecordWriter(self._stream, "jsonl")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - Lightning's signature
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Write a batch's records, and name what could not be read."""
        if trainer.global_rank and os.getppid() != self._parent:
            os._exit(1)  # who started this process was killed, and would be waited for at every exit but this one
        assert self.writer is not None  # noqa: S101 - for the type checker
        records = top_records(outputs, batch, self.classes, self.top_k, self.threshold)
        self.writer.write(records)
        for record in records:
            if record.error is not None:
                _log.warning(printable(record.error))
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = now
            images = self.writer.written * trainer.world_size
            _log.info("%d images, %.1f each second", images, images / (now - self._started))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what belongs at the end, or put together what all processes have written."""
        if self.part is None:
            assert self.writer is not None  # noqa: S101 - for the type checker
            self.writer.finish()
            return
        self.teardown(trainer, pl_module, "predict")
        trainer.strategy.barrier("written")
        if trainer.is_global_zero:
            self.part.gather()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Close what this process writes to, also after a failure."""
        if self._stream is not None:
            self._stream.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Close it."""
        self.teardown(trainer, pl_module, "predict")


def top_records(
    probabilities: Tensor, batch: Batch, classes: Sequence[str], top_k: int, threshold: float = 0.0
) -> list[Record]:
    """The records of a batch.

    Args:
        probabilities: (R, classes), of the R images that could be read.
        batch: All files of the batch in order.
        classes: Class names.
        top_k: Classes of each image, at most.
        threshold: Their least probability, compared as it is written.
    """
    best = probabilities.topk(top_k).indices.tolist() if len(probabilities) else []
    rows = iter(zip(best, probabilities.tolist(), strict=True))
    records = []
    for file in batch.files:
        if file.error is not None:
            records.append(Record(file.number, file.path, error=file.error))
            continue
        indices, row = next(rows)
        guesses = (Guess(classes[index], index, round(row[index], 6)) for index in indices)
        probable = tuple(guess for guess in guesses if guess.probability >= threshold)
        records.append(Record(file.number, file.path, probable))
    return records
