"""What a pickle would import, read from its instructions without following them."""

from __future__ import annotations

import pickletools
import zipfile
from collections import deque
from collections.abc import Iterator
from typing import IO, Any

from dat_cli.weights.archive import is_archive

Instruction = tuple[pickletools.OpcodeInfo, Any, int | None]
"""Code, argument, place in the file."""
_MAX_BYTES = 10_000_000
"""Of instructions and texts; those of a checkpoint are far fewer, tensors lie beside them."""
_MAX_INSTRUCTIONS = 1_000_000
"""What is read in a second or two; a checkpoint of Lightning for DAT-Tiny has 27,470."""
_PICKLES = 5
"""As many as the old format of torch.save has: magic number, version, machine, the object, keys of its tensors."""


def named_globals(opened: IO[bytes]) -> Iterator[str]:
    """Dotted names of the classes and functions that a checkpoint asks for, in order, with repetitions.

    Args:
        opened: The file.

    Raises:
        Exception: The file is damaged, or has more instructions than any checkpoint; which one, its author chooses.
    """
    for instructions in pickles(opened):
        yield from _globals(instructions)


def pickles(opened: IO[bytes]) -> Iterator[Iterator[Instruction]]:
    """The instructions of each pickle of a checkpoint, to be read one after the other.

    Args:
        opened: The file.

    Raises:
        Exception: As ``named_globals``.
    """
    left = iter(range(_MAX_INSTRUCTIONS))
    for stream in _streams(opened):
        yield _instructions(stream, left)


def dotted(argument: str) -> str:
    """The name that the instruction GLOBAL gives, with Python 3's name of the built-in functions."""
    return argument.replace(" ", ".").replace("__builtin__.", "builtins.")


class _Bounded:
    """The first bytes of some files together; more is an error, however much a length claims."""

    def __init__(self) -> None:
        self.stream: IO[bytes]
        self._left = _MAX_BYTES

    def read(self, size: int) -> bytes:
        return self._counted(self.stream.read(min(size, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self.stream.readline(self._left + 1))

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("too many instructions")
        return data


def _streams(opened: IO[bytes]) -> Iterator[_Bounded]:
    """Each pickle of the file; of a zip archive, whatever torch might find as its data.pkl."""
    bounded = _Bounded()
    if is_archive(opened):
        with zipfile.ZipFile(opened) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(".pkl"):
                    del entry.CRC  # check_archive knows whether there is one
                    with archive.open(entry) as bounded.stream:
                        yield bounded
        return
    opened.seek(0)
    bounded.stream = opened
    for _ in range(_PICKLES):
        yield bounded


def _instructions(stream: _Bounded, left: Iterator[int]) -> Iterator[Instruction]:
    for instruction in pickletools.genops(stream):  # type: ignore[arg-type]  # it needs read and readline alone
        if next(left, None) is None:
            raise ValueError("too many instructions")
        yield instruction


def _globals(instructions: Iterator[Instruction]) -> Iterator[str]:
    memo: dict[int, str] = {}
    texts: deque[str] = deque(maxlen=2)
    last = ""  # the text that the instruction before left on the stack, if it did
    for code, value, _ in instructions:
        before, last = last, ""
        if code.name in ("GLOBAL", "INST"):
            yield dotted(str(value))
        elif code.name == "STACK_GLOBAL":
            yield ".".join(texts)
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
