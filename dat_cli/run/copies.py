"""Copies of predicted images with their top label drawn on, in a folder of their own."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from dat_cli.data.open_image import STANDARD_INPUT, open_image
from dat_cli.data.shard_addresses import is_remote
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, HubError, UsageError
from dat_cli.run.annotate import annotate, font_file
from dat_cli.run.predict import Batch
from dat_cli.whole import whole_file

MARK = ".dat-copies"
"""A file that tells a folder of copies from any other."""

_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_OTHERS = ".png"  # added to the names of images of all other kinds
_QUALITY = 92
_THREADS = 4  # Pillow decodes and encodes without holding Python's lock
_LONGEST_PART = 150  # characters of a name in the path of an address

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
        failed: Images that could not be opened a second time.

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
            place = _place(self.folder, file.path)
            if probability < self.threshold:
                yield _Copy(file.path, place, "no class is probable enough", None, None)
            else:
                font_file(frozenset(printable(self.classes[index])))  # looked for once, by one thread
                yield _Copy(file.path, place, self.classes[index], index, probability)


def check_copies_folder(folder: Path, images: Sequence[str]) -> None:
    """Let pass a folder that is new, empty, or has copies already, and in which no image lies that is read.

    Args:
        folder: Where copies shall go.
        images: What a person named: files, folders, patterns and addresses.

    Raises:
        UsageError: It is another folder.
    """
    shown = printable(str(folder))
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"--save_images {shown} is not a folder", hint="give the name of a new one")
    if folder.is_dir() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise UsageError(f"--save_images {shown} has files that are no copies of dat", hint="give a new folder")
    place = Path(os.path.realpath(folder))
    for image in images:
        read = Path(os.path.realpath(image))
        if os.path.lexists(image) and (_is_in(read, place) or (read.is_dir() and _is_in(place, read))):
            raise UsageError(
                f"--save_images {shown} and {printable(image)} are in one another", hint="give a folder elsewhere"
            )


def copy_name(source: str) -> Path:
    """The path of an image's copy in the folder of copies; no two images have the same.

    It is the image's own path, as seen from the current folder or, outside of it, from the root; ``.png`` is added for
    kinds of images that are not written. Where another image could claim that name, and for addresses, a part of a
    hash is added too.

    Args:
        source: As ``open_image`` takes it.
    """
    if is_remote(source):
        address = urlsplit(source)
        parts = [address.netloc.rpartition("@")[2], *address.path.split("/")]
        name = Path(*(part[:_LONGEST_PART] for part in parts if part not in ("", ".", "..")))
        return _tagged(_with_kind(name), source)
    if source == STANDARD_INPUT:
        return Path("standard-input.png")
    here, path = Path.cwd(), Path(os.path.abspath(source))  # noqa: PTH100 - resolve would follow links
    name = _with_kind(path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor))
    rivals = [rival for rival in (here / name, Path(path.anchor, name)) if rival != path]
    return _tagged(name, str(path)) if any(map(os.path.lexists, rivals)) else name


class _Copy(NamedTuple):
    source: str
    place: Path
    label: str
    class_index: int | None
    probability: float | None


def _save(copy: _Copy) -> str | None:
    """Draw and write; what is wrong with the image, if anything."""
    try:
        image = open_image(copy.source)
    except (DataError, HubError) as error:
        return printable(error.message)
    drawn = annotate(image, copy.label, copy.class_index, copy.probability)
    copy.place.parent.mkdir(parents=True, exist_ok=True)
    if copy.place.is_symlink():
        copy.place.unlink()  # what it leads to is not ours
    with whole_file(copy.place) as temporary:
        drawn.save(temporary, _KINDS[copy.place.suffix.lower()], quality=_QUALITY)
    return None


def _place(folder: Path, source: str) -> Path:
    """Where the copy of an image goes.

    Raises:
        UsageError: The image lies in the folder of copies, or a link there leads out of it.
    """
    place, inside = folder / copy_name(source), Path(os.path.realpath(folder))
    if not is_remote(source) and source != STANDARD_INPUT and _is_in(Path(os.path.realpath(source)), inside):
        raise UsageError(f"{printable(source)} lies in the folder of copies", hint="give a folder elsewhere")
    if not _is_in(Path(os.path.realpath(place.parent)), inside):
        raise UsageError(f"{printable(str(place.parent))} leads out of the folder of copies", hint="give a new folder")
    return place


def _is_in(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _with_kind(name: Path) -> Path:
    return name if name.suffix.lower() in _KINDS else name.with_name(name.name + _OTHERS)


def _tagged(name: Path, source: str) -> Path:
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:12]
    return name.with_name(f"{name.stem}-{digest}{name.suffix}")
