"""Copies of predicted images with their top label drawn on, in a folder of their own."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dat_cli.data.open_image import open_image
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, HubError, UsageError
from dat_cli.run.annotate import annotate, font_file
from dat_cli.run.batches import Batch
from dat_cli.run.copy_places import KINDS, MARK, place_of
from dat_cli.whole import whole_file

_QUALITY = 92
_SHOWN = 200  # characters of a path
_OF_A_NAME = {errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}
"""Reasons of the system that are one image's alone; any other, as that of a full disk, is every image's."""
_THREADS = 4  # Pillow decodes and encodes without holding Python's lock

_log = logging.getLogger("dat.predict")


class Copies(Callback):
    """Saves a copy of each image of a batch; images that could not be read have none.

    An image is opened a second time for it, by up to four threads: those that decode for the network keep no
    original.

    Args:
        folder: As ``check_copies_folder`` let pass.
        classes: Class names.
        threshold: Probability that a class needs to be named.

    Attributes:
        failed: Images without a copy: they could not be opened a second time, or no file can have the copy's name.

    Raises:
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path, classes: Sequence[str], *, threshold: float = 0.0) -> None:
        self.folder = folder
        self.classes = classes
        self.threshold = threshold
        self.failed = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dat-copies")

    def on_predict_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002 - Lightning's signature
        pl_module: LightningModule,  # noqa: ARG002
        outputs: Tensor,
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Save the copies of a batch, none of them twice."""
        wanted = {copy.place: copy for copy in self._copies(outputs, batch)}
        for error in self._threads.map(_save, wanted.values()):
            if error is not None:
                self.failed += 1
                _log.warning("no copy: %s", error)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _copies(self, probabilities: Tensor, batch: Batch) -> Iterator[_Copy]:
        best = [values.tolist() for values in probabilities.max(1)] if len(probabilities) else [[], []]
        rows = iter(zip(*best, strict=True))
        for file in batch.files:
            if file.error is not None:
                continue
            probability, index = next(rows)
            place = place_of(self.folder, file.path)
            if round(probability, 6) < self.threshold:  # as records write and compare it
                yield _Copy(file.path, place, "no class is probable enough", None, None)
            else:
                font_file(frozenset(printable(self.classes[index])))  # looked for once, by one thread
                yield _Copy(file.path, place, self.classes[index], index, probability)


class _Copy(NamedTuple):
    source: str
    place: Path
    label: str
    class_index: int | None
    probability: float | None


def _save(copy: _Copy) -> str | None:
    """Draw and write; what is wrong with the image or the name of its copy, if anything.

    Raises:
        OSError: No copy at all can be written.
    """
    try:
        image = open_image(copy.source)
    except (DataError, HubError) as error:
        return printable(error.message)
    drawn = annotate(image, copy.label, copy.class_index, copy.probability)
    try:
        copy.place.parent.mkdir(parents=True, exist_ok=True)
        if copy.place.is_symlink():
            copy.place.unlink()  # what it leads to is not ours
        with whole_file(copy.place) as temporary:
            drawn.save(temporary, KINDS[copy.place.suffix.lower()], quality=_QUALITY)
    except UsageError as error:  # a folder has its name
        return printable(error.message)
    except (OSError, ValueError) as error:  # Pillow raises both without a number, where a kind takes no such size
        number = getattr(error, "errno", None)
        if number is not None and number not in _OF_A_NAME:
            raise
        reason = getattr(error, "strerror", None) or str(error)
        return printable(f"cannot write {str(copy.place)[-_SHOWN:]} ({reason})")
    return None
