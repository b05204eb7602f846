"""Weights of any form into a file of ours, or back into the authors' form."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dat_cli.errors import UsageError, WeightsError
from dat_cli.run.labels import read_labels
from dat_cli.weights.layout import CONFIG, is_layout, is_weights_file

if TYPE_CHECKING:
    from dat_cli.run.source import Source

To = Literal["dat", "authors"]
_PICKLES = (".pth", ".pt", ".bin", ".ckpt")
_OTHERS = (".onnx", ".h5", ".npz", ".pkl")
_OURS = ".safetensors"


@dataclass(frozen=True)
class Wish:
    """What a conversion shall do.

    Attributes:
        source: Any weights: a file of strangers, or whatever ``find_weights`` takes.
        out: Where to: a ``.safetensors``, a folder in the layout of a Hub repository, or a file of the authors' form.
        to: Whose names and shapes of tensors.
        arch: The variant that a stranger's file is of; None to recognise it.
        img_size: Height and width in pixels that tables are resized for; None to keep them.
        window: Size of windows; None for what suits.
        labels: A file with the names of the classes.
        owner: Whose repository on the Hub a variant's name means.
    """

    source: str
    out: Path
    to: To = "dat"
    arch: str | None = None
    img_size: int | None = None
    window: int | None = None
    labels: Path | None = None
    owner: str | None = None


def convert(wish: Wish) -> str:
    """Read, check, and only then write.

    Returns:
        One line that says what it was and what was done.

    Raises:
        DatError: Something is wrong with the wish or with the weights, or the place cannot be written; nothing is
            written then.
    """
    as_folder = _check_place(wish)
    labels = read_labels(wish.labels) if wish.labels else None
    _check_apart(Path(wish.source).expanduser(), wish.out)
    found = _read(wish)

    from dat_cli.run.source import resized

    source = resized(found, img_size=wish.img_size, window=wish.window)
    _write(wish, source, labels, as_folder=as_folder)
    return _summary(wish, found, source)


def _check_place(wish: Wish) -> bool:
    """Whether a folder is wished for."""
    out, suffix = wish.out, wish.out.suffix.lower()
    if wish.to == "authors":
        if suffix not in (".pth", _OURS):
            raise UsageError(f"{out} ends in neither .pth nor {_OURS}", hint="the authors' form is one of these files")
        if wish.labels:
            raise UsageError("the authors' files hold no names of classes", hint="leave out --labels")
    elif suffix in _PICKLES:
        hint = f"end it in {_OURS}, or add --to authors for the authors' form"
        raise UsageError(f"{out} would be a pickle, which dat does not write", hint=hint)
    elif suffix in _OTHERS and not out.is_dir():
        raise UsageError(
            f"dat does not write {suffix} files such as {out}",
            hint=f"give NAME{_OURS} for a file, or NAME for a folder",
        )
    as_folder = wish.to == "dat" and suffix != _OURS
    if not as_folder and out.is_dir():
        raise UsageError(f"{out} is a folder", hint="give the name of a file in it")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}", hint="make it first")
    if not as_folder and is_weights_file(out.name) and is_layout(out.parent):
        raise UsageError(f"{out} would no longer be what the {CONFIG} beside it says", hint="give another name")
    return as_folder


def _check_apart(source: Path, out: Path) -> None:
    """Refuse to write over what is read, or to replace a folder that it is in."""
    if not source.exists() or not out.exists():
        return
    read, written = (Path(os.path.realpath(path)) for path in (source, out))
    if read == written or out.samefile(source) or written in read.parents:
        raise UsageError(f"{out} would take the place of {source}", hint="give another place")


def _read(wish: Wish) -> Source:
    from dat_cli.run.resolve import find_weights

    path = Path(wish.source).expanduser()
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WeightsError(f"{path} is neither a file nor a folder", hint="write what it gives into a file first")
    if path.is_file() and path.suffix.lower() not in (*_PICKLES, _OURS):
        known = ", ".join((*_PICKLES, _OURS))
        raise WeightsError(f"{path} does not end as weights do", hint=f"they are named {known}")
    weights = None if path.is_file() else find_weights(wish.source, owner=wish.owner)

    from dat_cli.run.foreign import own, read_foreign  # imports torch, which nothing above has needed

    if weights is None:
        return read_foreign(path, wish.arch)
    _check_apart(weights.path, wish.out)
    return own(weights.path, weights.config, wish.arch, name=weights.name)


def _write(wish: Wish, source: Source, labels: Sequence[str] | None, *, as_folder: bool) -> None:
    from dat_cli.models.convert import to_authors
    from dat_cli.run.source import described
    from dat_cli.weights import write_weights
    from dat_cli.weights.authors_file import write_authors_file
    from dat_cli.weights.folder import layout_folder
    from dat_cli.weights.layout import CARD, write_layout

    if wish.to == "authors":
        write_authors_file(wish.out, to_authors(source.tensors, source.network.variant))
        return
    config = described(source, labels)
    if not as_folder:
        write_weights(wish.out, source.tensors, config)
        return
    with layout_folder(wish.out) as folder:
        write_layout(folder, source.tensors, config)
        if (wish.out / CARD).is_file():
            shutil.copyfile(wish.out / CARD, folder / CARD)  # somebody may have written it


def _summary(wish: Wish, found: Source, source: Source) -> str:
    before, now = found.network, source.network
    resized = "" if now == before else f"; resized for {now.img_size} x {now.img_size} pixels, windows of {now.window}"
    verb = "is" if found.config or wish.arch else "is recognised as"
    return (
        f"{found.name} {verb} {before.variant.name} for {before.img_size} x {before.img_size} pixels and "
        f"{before.num_classes} classes{resized}; wrote {len(source.tensors)} tensors"
        f"{' by the names of the authors' if wish.to == 'authors' else ''}"
    )
