"""The pictures of one WebDataset shard: files of one name, with different endings, that stand side by side in a .tar.

Nothing is ever unpacked: names in an archive are only shown, and only ordinary files are read.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import groupby
from typing import IO, Any, NamedTuple, Protocol

from dat_cli.data.image import IMAGE_SUFFIXES
from dat_cli.data.walk import printable
from dat_cli.errors import DataError

LABELS = ("cls", "json", "txt")
"""Endings of files that hold a label; the first that is there counts."""

_LARGEST_IMAGE = 512 << 20  # bytes: an archive can claim any size, and a sparse file costs nothing to claim
_LARGEST_LABEL = 1 << 20
_LARGEST_NAME = 1 << 16
_HEADERS_OF_NAMES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"L", b"K")
_BUFFER = 1 << 18
_LONGEST_END = 16 << 20  # bytes of zeros: archives are filled up to a multiple of their block, by default 10,240
_ERRORS = (tarfile.TarError, ValueError, OverflowError, RecursionError, IndexError, OSError)  # of damaged headers


class TarSample(NamedTuple):
    """One picture of a shard.

    Attributes:
        number: Its place among the shard's pictures.
        member: Name of the picture in the archive.
        image: The file's bytes; empty where only labels were asked for.
        labels: Contents of the label files, by their endings.
    """

    number: int
    member: str
    image: bytes
    labels: dict[str, bytes]


class Readable(Protocol):
    """What is read from its beginning."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than ``size`` only at the end."""


class EndedError(Exception):
    """A shard ended before a picture that was wanted.

    Args:
        count: Pictures in the shard.
        wanted: Number of the one that was wanted.
    """

    def __init__(self, count: int, wanted: int) -> None:
        super().__init__(count, wanted)
        self.count, self.wanted = count, wanted


def read_samples(
    file: Readable | IO[bytes], shard: str, *, wanted: Iterator[int] | None = None, images: bool = True
) -> Iterator[TarSample]:
    """Pictures of a shard in its order; no more is read than is needed.

    Args:
        file: The archive; where it can seek, what is not wanted is not read.
        shard: What to call it in an error.
        wanted: Numbers of the pictures, ascending; None for all.
        images: Read the pictures too, not only their labels.

    Raises:
        DataError: The archive is damaged; names it.
        EndedError: It has fewer pictures.
    """
    target, number = (None if wanted is None else next(wanted)), 0
    with _opened(file, shard) as tar:
        for _, members in groupby(_files(tar, shard), key=lambda member: _split(member.name)[0]):
            is_wanted = target is None or number == target
            found, image, labels = "", b"", dict[str, bytes]()
            for member in members:
                ending = _split(member.name)[1].rpartition(".")[2]
                if not found and f".{ending}" in IMAGE_SUFFIXES:
                    found = member.name
                    image = _content(tar, member, shard, _LARGEST_IMAGE) if is_wanted and images else b""
                elif ending in LABELS and ending not in labels and is_wanted:
                    labels[ending] = _content(tar, member, shard, _LARGEST_LABEL)
            if not found:
                continue
            if is_wanted:
                yield TarSample(number, found, image, labels)
                if wanted is not None and (target := next(wanted, None)) is None:
                    return
            number += 1
    if target is not None:
        raise EndedError(number, target)


class _Header(tarfile.TarInfo):
    """A header that is whole, leads onward, and does not fill the memory with a name."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Any:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:  # tarfile would take any for the end of the archive
            if len(buf) == tarfile.BLOCKSIZE == buf.count(0):
                raise
            is_cut = len(buf) < tarfile.BLOCKSIZE
            raise tarfile.ReadError("it breaks off" if is_cut else "a header in it is damaged") from error
        _check_size(header)
        if header.type in _HEADERS_OF_NAMES and header.size > _LARGEST_NAME:
            raise tarfile.ReadError(f"a name in it has {header.size} bytes")
        return header


def _check_size(header: tarfile.TarInfo) -> None:
    if header.size < 0:  # what follows would lie before it, and be read for ever
        raise tarfile.ReadError(f"a file in it has {header.size} bytes")


def _opened(file: Readable | IO[bytes], shard: str) -> tarfile.TarFile:
    mode: Any = "r:" if hasattr(file, "seek") else "r|"  # the second only reads on
    options: dict[str, Any] = {"fileobj": file, "mode": mode, "bufsize": _BUFFER, "tarinfo": _Header}
    try:
        return tarfile.open(**options)
    except _ERRORS as error:
        raise _damaged(shard, error) from error


def _files(tar: tarfile.TarFile, shard: str) -> Iterator[tarfile.TarInfo]:
    """Ordinary files with an ending, without those that operating systems leave behind."""
    while True:
        try:
            member = tar.next()
            if member is None:
                _check_end(tar)
                return
            _check_size(member)  # again: a header of names can override it
        except _ERRORS as error:
            raise _damaged(shard, error) from error
        vars(tar)["members"].clear()  # or the memory would hold all headers of the archive
        if member.isfile() and not member.issparse() and all(_split(member.name)):
            yield member


def _check_end(tar: tarfile.TarFile) -> None:
    """Only zeros follow the zeros that end an archive, or they are a hole in it."""
    file, left = tar.fileobj, _LONGEST_END
    while file and (piece := file.read(_BUFFER)):
        left -= len(piece)
        if piece.count(0) < len(piece) or left < 0:
            raise tarfile.ReadError("it goes on behind the zeros that end an archive")


def _split(name: str) -> tuple[str, str]:
    """What files of one picture have in common, and the ending in lower case; nothing for hidden files."""
    folder, _, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return (f"{folder}/{stem}" if stem else ""), ending.lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, shard: str, largest: int) -> bytes:
    if member.size > largest:
        raise DataError(f"{shard}/{printable(member.name)[:200]} has {member.size} bytes, more than {largest}")
    try:
        file = tar.extractfile(member)
        return file.read() if file else b""
    except (tarfile.TarError, OSError) as error:
        raise _damaged(f"{shard}/{printable(member.name)[:200]}", error) from error


def _damaged(name: str, error: Exception) -> DataError:
    said = printable(str(error))[:200] or type(error).__name__
    return DataError(f"cannot read {name}: {said}", hint="the archive is damaged or no .tar; write or fetch it again")
