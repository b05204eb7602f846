"""Where copies of images go: each to a place of its own, and none over what is somebody's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dat_cli.data.open_image import STANDARD_INPUT
from dat_cli.data.shard_addresses import is_remote
from dat_cli.data.walk import printable
from dat_cli.errors import UsageError
from dat_cli.whole import cut_to_bytes

MARK = ".dat-copies"
"""A file that tells a folder of copies from any other."""
KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
"""Kinds of images that are written, by suffix."""

_OTHERS = ".png"  # added to the names of images of all other kinds
_LONGEST = 255  # bytes of a name, as most file systems take
_LONGEST_PART = 150  # bytes of a name in the path of an address


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
    kinds of images that are not written. Where another image could claim that name, where it would be too long and is
    cut, for standard input and for addresses, a part of a hash is added too.

    Args:
        source: As ``open_image`` takes it.
    """
    if is_remote(source):
        address = urlsplit(source)
        parts = [address.netloc.rpartition("@")[2], *address.path.split("/")]
        name = Path(*(cut_to_bytes(part, _LONGEST_PART) for part in parts if part not in ("", ".", "..")))
        return _tagged(_with_kind(name), source)
    if source == STANDARD_INPUT:
        return _tagged(Path(f"standard-input{_OTHERS}"), source)
    here, path = Path.cwd(), Path(os.path.abspath(source))  # noqa: PTH100 - resolve would follow links
    name = _with_kind(path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor))
    rivals = [rival for rival in (here / name, Path(path.anchor, name)) if rival != path]
    is_taken = len(os.fsencode(name.name)) > _LONGEST or any(map(os.path.lexists, rivals))
    return _tagged(name, str(path)) if is_taken else name


def place_of(folder: Path, source: str) -> Path:
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
    return name if name.suffix.lower() in KINDS else name.with_name(name.name + _OTHERS)


def _tagged(name: Path, source: str) -> Path:
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:12]
    ending = f"-{digest}{name.suffix}"
    return name.with_name(cut_to_bytes(name.stem, _LONGEST - len(os.fsencode(ending))) + ending)
