"""A folder of pictures as a source: a subfolder for each class, in parts or all together."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dat_cli.catalog import Preprocessing
from dat_cli.data.samples import Sample, Samples, Source
from dat_cli.data.split import split_by_class
from dat_cli.data.walk import find_images, is_folder, is_image, leads_up, list_folder, printable
from dat_cli.errors import DataError, did_you_mean

_log = logging.getLogger("dat")

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LAYOUT_HINT = "put the images of each class in a folder named after the class, all of them or below train/ and val/"

# A third of the cost of 224 pixels: some hundred photographs on a laptop want more steps rather than more pixels.
PREPROCESSING = Preprocessing(input_size=(3, 128, 128), crop_pct=0.9, crop_mode="center")


def open_folder(root: Path, *, val_fraction: float, seed: int, classes: tuple[str, ...] | None) -> Source:
    """The pictures below ``root`` with their classes; see ``open_source``.

    Raises:
        DataError: The layout, a class or a folder is not as it should be; names it.
    """
    parts = _find_parts(root)
    if "train" not in parts and parts and classes is None:
        raise DataError(f"{printable(root)} has {_names(parts.values())} but no train", hint=_LAYOUT_HINT)
    learn = parts.get("train") if parts else root
    lacking = "the weights lack" if classes else f"{learn.name if learn else root.name} lacks"
    known = classes or _training_classes(learn or root)
    index = {name: label for label, name in enumerate(known)}

    train = _read(learn, index, lacking) if learn else Samples()
    if "val" in parts:
        val = _read(parts["val"], index, lacking)
    elif learn:
        train, val = _split(train, learn, val_fraction, seed)
    else:
        val = Samples()
    if classes is None:
        _check_validation(val, known, root)
    return Source(
        name=str(root),
        classes=known,
        train=train,
        val=val,
        test=_read(parts["test"], index, lacking) if "test" in parts and _has_classes(parts["test"]) else None,
        preprocessing=PREPROCESSING,
        crop_scale=(0.35, 1.0),
        flip=0.5,
    )


def _find_parts(root: Path) -> dict[str, Path]:
    """Folders that are parts of the data set; none where the folders of ``root`` are classes."""
    folders = [Path(entry.path) for entry in list_folder(root) if is_folder(entry)]
    parts: dict[str, Path] = {}
    for folder in folders:
        part = _PARTS.get(folder.name.lower())
        if part in parts:
            raise DataError(f"{printable(root)} has both {_names([parts[part], folder])}", hint="keep one of them")
        if part:
            parts[part] = folder
    # "train" beside "bus" and "tram" is a class; beside "val" it is not, whatever else lies there.
    is_parted = {"train", "val"} <= parts.keys() or len(parts) == len(folders)
    return parts if is_parted else {}


def _training_classes(part: Path) -> tuple[str, ...]:
    names = tuple(sorted(_class_folders(part)))
    if len(names) == 1:
        inner = part / names[0]
        is_wrapped = any(is_folder(entry) for entry in list_folder(inner))  # as archives unpack
        raise DataError(
            f"{printable(part)} has only one class, {printable(names[0])}",
            hint=f"did you mean {printable(inner)}?" if is_wrapped else "a classifier needs at least two classes",
        )
    return names


def _class_folders(part: Path) -> dict[str, Path]:
    """Folder of each class by its name, sorted.

    Raises:
        DataError: There is none, or a name is no text.
    """
    folders = {entry.name: Path(entry.path) for entry in list_folder(part) if is_folder(entry) and not leads_up(entry)}
    if not folders:
        strays = _count_strays(part)
        found = f"{strays} images but no folders of classes" if strays else "no folders of classes"
        raise DataError(f"{printable(part)} has {found}", hint=_LAYOUT_HINT)
    for name in folders:
        if not _is_text(name):
            raise DataError(
                f"the name of a class folder is no UTF-8: {printable(folders[name])}", hint="rename the folder"
            )
    return folders


def _read(part: Path, index: Mapping[str, int], lacking: str) -> Samples:
    """All pictures of a part in the order of their classes' names, then their own."""
    folders = _class_folders(part)
    unknown = [name for name in folders if name not in index]
    if unknown:
        near = did_you_mean(unknown[0], index)
        raise DataError(
            f"{printable(part)} has a class that {lacking}: {', '.join(map(printable, unknown[:5]))}",
            hint=near or f"rename or remove the folder; known are {', '.join(map(printable, list(index)[:10]))}",
        )
    if strays := _count_strays(part):
        _log.warning("left out %d images that lie in no class folder of %s", strays, printable(part))
    samples: list[Sample] = []
    for name, folder in folders.items():
        images = sorted(find_images(folder, barred=folders.values()), key=Path.as_posix)
        if not images:
            raise DataError(
                f"class {printable(name)} has no images: {printable(folder)}", hint="add images or remove the folder"
            )
        samples.extend(Sample(image, index[name]) for image in images)
    return Samples.of(samples)


def _count_strays(part: Path) -> int:
    return sum(is_image(entry) for entry in list_folder(part))


def _has_classes(part: Path) -> bool:
    """A test part of unlabelled pictures is usual in competitions; it is no error and measures nothing."""
    if any(is_folder(entry) for entry in list_folder(part)):
        return True
    _log.warning("left out %s: it has no folders of classes", printable(part))
    return False


def _split(samples: Samples, part: Path, fraction: float, seed: int) -> tuple[Samples, Samples]:
    names = [os.path.relpath(path, part).replace(os.sep, "/") for path in samples.paths]
    kept, held_out = split_by_class(names, samples.labels, fraction, seed)
    _log.info("%d of %d images are for validation (data.val_fraction %g)", len(held_out), len(names), fraction)
    return Samples.of(samples[i] for i in kept), Samples.of(samples[i] for i in held_out)


def _check_validation(val: Samples, classes: Sequence[str], root: Path) -> None:
    counts = Counter(val.labels)
    if not counts:
        raise DataError(
            f"no images are left for validation in {printable(root)}: each class has only one",
            hint="add images: at least two of a class",
        )
    absent = [printable(name) for label, name in enumerate(classes) if not counts[label]]
    if absent:
        _log.warning("no validation images of %d classes: %s", len(absent), ", ".join(absent[:10]))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _names(folders: Iterable[Path]) -> str:
    return " and ".join(f"{folder.name}/" for folder in folders)
