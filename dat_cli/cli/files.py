"""Where results go: stdout, or a file that nobody ever sees half-written."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

from dat_cli.errors import UsageError


class StandardOutput:
    """Standard output with the interface of a file."""

    @property
    def stream(self) -> TextIO:
        """Where to write."""
        return sys.stdout

    def commit(self) -> None:
        """Send on what is buffered."""
        sys.stdout.flush()

    def abort(self) -> None:
        """Nothing can be taken back."""


class AtomicFile:
    """A text file that is written beside its place and renamed when complete.

    What is not a regular file, such as ``/dev/stdout`` or a named pipe, is written directly.

    Raises:
        UsageError: The place is a folder, or in a folder that is missing or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))  # a link stays a link
        self._temporary: Path | None = None
        if self._path.is_dir():
            raise UsageError(f"output {str(path)!r} is a folder", hint="give the name of a file in it")
        try:
            if self._path.exists() and not self._path.is_file():
                self.stream: TextIO = self._path.open("w", encoding="utf-8", errors="backslashreplace")
                return
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name[:100]}.", suffix=".tmp", dir=self._path.parent)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"output {str(path)!r} cannot be written ({reason})") from error
        self._temporary = Path(name)
        self.stream = cast("TextIO", open(handle, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115, PTH123

    def commit(self) -> None:
        """Put the complete file in its place, with the permissions a new file would have."""
        if self._temporary is None:
            self.stream.close()
            return
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        mask = os.umask(0)
        os.umask(mask)
        self._temporary.chmod(self._path.stat().st_mode & 0o777 if self._path.exists() else 0o666 & ~mask)
        self._temporary.replace(self._path)
        self._temporary = None

    def abort(self) -> None:
        """Leave everything as it was."""
        with suppress(OSError):
            self.stream.close()
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink()
            self._temporary = None
