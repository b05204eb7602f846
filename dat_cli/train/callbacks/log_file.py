"""``train.log``: what is said while a run goes on, from before there is a folder to keep it in."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import MemoryHandler
from pathlib import Path

_LOGGERS = ("dat", "lightning.pytorch")


class LogFile:
    """Listens from now on; writes once there is a place to."""

    def __init__(self) -> None:
        self._memory = MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
        self._memory.addFilter(lambda record: record.name.startswith("dat") or record.levelno >= logging.WARNING)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._memory)

    def write_to(self, path: Path) -> None:
        """Write what was said so far, and every line from now on as it comes.

        Raises:
            OSError: The file cannot be opened.
        """
        file = _QuietFileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._memory.setTarget(file)
        self._memory.flush()
        self._memory.capacity = 1

    def close(self) -> None:
        """Listen no longer."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._memory)
        target = self._memory.target
        self._memory.close()
        if target is not None:
            with suppress(OSError):  # of a full disk
                target.close()


class _QuietFileHandler(logging.FileHandler):
    """A full disk is told once, by what must not be lost, not by each line that could not be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name of it
        """Leave the line out."""
