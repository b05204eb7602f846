"""From the network's output to records: directly with one process, by way of the disk with several."""

from __future__ import annotations

import heapq
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TextIO

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dat_cli.data.walk import printable
from dat_cli.run.predict import Batch
from dat_cli.run.records import Guess, Record, RecordWriter

_log = logging.getLogger("dat.predict")
_SECONDS_BETWEEN_NOTES = 10.0
_AT_A_TIME = 256


class Predictions(Callback):
    """Writes the most probable classes of each image as soon as its batch is done.

    With several processes each spools its records to a file, and the first merges them in order at the end: nothing
    is ever held in memory. (Lightning's BasePredictionWriter would keep the index of every image.)

    Args:
        writer: What writes records; used by the first process only.
        classes: Class names.
        top_k: Classes of each image, at most all.
        spool_in: Folder that all processes can reach; None for the system's temporary one.
    """

    def __init__(
        self,
        writer: RecordWriter,
        classes: Sequence[str],
        *,
        top_k: int,
        spool_in: Path | None = None,
    ) -> None:
        self.writer = writer
        self.classes = classes
        self.top_k = min(top_k, len(classes))
        self.spool_in = spool_in
        self._folder: Path | None = None
        self._spool: TextIO | None = None
        self._started = self._noted = time.monotonic()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Open this process's spool, if there are several processes."""
        self._started = self._noted = time.monotonic()
        if trainer.world_size > 1:
            made = tempfile.mkdtemp(prefix=".dat-predict-", dir=self.spool_in) if trainer.is_global_zero else ""
            self._folder = Path(trainer.strategy.broadcast(made))
            self._spool = _spool_of(self._folder, trainer.global_rank).open("w", encoding="ascii")

    def on_predict_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002 - Lightning's signature
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Write or spool a batch's records."""
        records = top_records(outputs, batch, self.classes, self.top_k)
        if self._spool is None:
            self._write(records)
            return
        for record in records:
            self._spool.write(f"{json.dumps(asdict(record))}\n")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Merge the spools once all processes are done, and finish."""
        if self._folder is not None and self._spool is not None:
            self._spool.close()
            trainer.strategy.barrier("spooled")
            if trainer.is_global_zero:
                merged = _merge([_spool_of(self._folder, rank) for rank in range(trainer.world_size)])
                while records := list(islice(merged, _AT_A_TIME)):
                    self._write(records)
        if trainer.is_global_zero:
            self.writer.finish()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Remove the spools, also after a failure."""
        if self._spool is not None:
            self._spool.close()
        if self._folder is not None and trainer.is_global_zero:
            shutil.rmtree(self._folder, ignore_errors=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Remove the spools."""
        self.teardown(trainer, pl_module, "predict")

    def _write(self, records: Sequence[Record]) -> None:
        self.writer.write(records)
        for record in records:
            if record.error is not None:
                _log.warning(printable(record.error))
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = now
            _log.info("%d images, %.1f each second", self.writer.written, self.writer.written / (now - self._started))


def top_records(probabilities: Tensor, batch: Batch, classes: Sequence[str], top_k: int) -> list[Record]:
    """The records of a batch.

    Args:
        probabilities: (R, classes), of the R images that could be read.
        batch: All files of the batch in order.
        classes: Class names.
        top_k: Classes of each image.
    """
    best = probabilities.topk(top_k).indices.tolist() if len(probabilities) else []
    rows = iter(zip(best, probabilities.tolist(), strict=True))
    records = []
    for file in batch.files:
        if file.error is not None:
            records.append(Record(file.number, file.path, error=file.error))
            continue
        indices, row = next(rows)
        guesses = tuple(Guess(classes[index], index, round(row[index], 6)) for index in indices)
        records.append(Record(file.number, file.path, guesses))
    return records


def _spool_of(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.jsonl"


def _merge(spools: Sequence[Path]) -> Iterator[Record]:
    with ExitStack() as opened:
        files = [opened.enter_context(spool.open(encoding="ascii")) for spool in spools]
        yield from heapq.merge(*(map(_read, file) for file in files), key=lambda record: record.number)


def _read(line: str) -> Record:
    plain = json.loads(line)
    guesses = tuple(Guess(**guess) for guess in plain["predictions"])
    return Record(plain["number"], plain["path"], guesses, plain["error"])
