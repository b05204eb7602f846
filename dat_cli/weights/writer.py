"""Write what ``torch.save`` writes, and say why it could not be written."""

from __future__ import annotations

from pathlib import Path
from typing import IO


def save_pickle(path: Path, content: object) -> None:
    """Write ``content`` with ``torch.save``.

    Args:
        path: A file that may be replaced.
        content: Tensors and plain values.

    Raises:
        OSError: The disk refuses, as where it is full; torch itself tells only that it noticed.
    """
    import torch

    with path.open("wb") as opened:  # torch.save writes the path of what it is not given open
        writer = _Writer(opened)
        try:
            torch.save(content, writer)  # type: ignore[arg-type]  # write and flush are all it needs
        except RuntimeError as error:
            # Interrupted just before write() begins, the reason is only what torch was handling.
            raise (writer.refused or error.__context__ or error) from None


class _Writer:
    """Passes on what torch.save writes, and keeps why that failed."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self.flush = opened.flush
        self.refused: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._opened.write(data)
        except BaseException as error:
            self.refused = self.refused or error
            raise
