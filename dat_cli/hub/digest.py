"""The two names that the Hub has for the bytes of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PIECE = 1 << 20


@dataclass(frozen=True)
class Digest:
    """What a file's bytes are.

    Attributes:
        size: Bytes.
        sha256: How the Hub names large files.
        git: SHA-1 as git names files, which the Hub uses for small ones.
    """

    size: int
    sha256: str
    git: str

    def is_called(self, name: str) -> bool:
        """Whether ``name``, 64 or 40 hexadecimal digits, is the name of these bytes."""
        return name == (self.sha256 if len(name) == 64 else self.git)


def digest(content: Path | bytes) -> Digest:
    """Read a file, or bytes, once for both names."""
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for piece in pieces(content):
        sha256.update(piece)
        git.update(piece)
    return Digest(size, sha256.hexdigest(), git.hexdigest())


def pieces(content: Path | bytes) -> Iterator[bytes]:
    """The bytes of a file, a part at a time."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as opened:
        while piece := opened.read(_PIECE):
            yield piece
