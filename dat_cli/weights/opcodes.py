"""What a pickle would import, read from its instructions without following them."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO

_MAX_BYTES = 10_000_000
"""Of the instructions in a zip archive; those of a checkpoint are far fewer, tensors lie beside them."""
_PICKLES = 5
"""As many as the old format of torch.save has: magic number, version, machine, the object, keys of its tensors."""


def named_globals(path: Path) -> list[str]:
    """Dotted names of the classes and functions that a checkpoint asks for, in order, each once.

    As many as can be read: of a damaged file, those before the damage.
    """
    found: dict[str, None] = {}
    with suppress(Exception), path.open("rb") as opened:  # what damage raises, its author chooses
        for stream in _streams(opened):
            for name in _globals(stream):
                found[name] = None
    return list(found)


def _streams(opened: IO[bytes]) -> Iterator[IO[bytes]]:
    """Each pickle of the file."""
    if zipfile.is_zipfile(opened):
        with zipfile.ZipFile(opened) as archive:
            pickles = [entry for entry in archive.namelist() if entry.endswith(".pkl")]
            for entry in pickles[:_PICKLES]:
                with archive.open(entry) as record:
                    yield BytesIO(record.read(_MAX_BYTES))
        return
    opened.seek(0)
    for _ in range(_PICKLES):
        yield opened


def _globals(stream: IO[bytes]) -> Iterator[str]:
    memo: dict[int, str] = {}
    texts: list[str] = []
    last = ""  # the text that the instruction before left on the stack, if it did
    for code, value, _ in pickletools.genops(stream):
        before, last = last, ""
        if code.name in ("GLOBAL", "INST"):
            yield str(value).replace(" ", ".").replace("__builtin__.", "builtins.")
        elif code.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif code.name == "MEMOIZE":
            memo[len(memo)] = last = before
        elif code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(value or 0)] = last = before
        elif code.name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(int(value or 0), "")
            texts.append(last)
        elif isinstance(value, str):
            last = value
            texts.append(value)
