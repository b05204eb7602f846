"""A file of results that nobody ever sees half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from dat_cli.errors import UsageError
from dat_cli.whole import whole_file


@contextmanager
def result_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that gets its name when it is complete; an exception leaves everything as it was.

    What is not a regular file, such as ``/dev/stdout`` or a named pipe, is written directly.

    Raises:
        UsageError: The place is a folder, or in a folder that is missing or cannot be written.
    """
    with ExitStack() as opened:
        try:
            place = Path(os.path.realpath(path))  # a link stays a link
            if place.is_dir():
                raise UsageError(f"output {str(path)!r} is a folder", hint="give the name of a file in it")
            special = place.exists() and not place.is_file()
            written = place if special else opened.enter_context(whole_file(place))
            stream = opened.enter_context(written.open("w", encoding="utf-8", errors="backslashreplace"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"output {str(path)[-200:]!r} cannot be written ({reason})") from error
        yield stream
