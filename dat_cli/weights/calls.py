"""What a pickle calls with what, followed on a stack of marks and names, without calling anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from dat_cli.weights.opcodes import Instruction, dotted, pickles

_COPIES = ("collections.OrderedDict", "builtins.set")
_LONGEST_NUMBER = 64
"""Characters, each a byte of a NumPy scalar."""
_DEEPEST, _LARGEST = 100, 1_000_000
"""Tuples in tuples, and the values in one, each as often as it is met: a tuple as a key is followed to its ends."""
_TAKES = {
    "NONE": 0, "NEWTRUE": 0, "NEWFALSE": 0, "EMPTY_LIST": 0, "EMPTY_DICT": 0, "EMPTY_SET": 0, "EMPTY_TUPLE": 0,
    "BININT": 0, "BININT1": 0, "BININT2": 0, "BINFLOAT": 0, "LONG1": 0, "BINUNICODE": 0, "SHORT_BINSTRING": 0,
    "GLOBAL": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1, "NEWOBJ": 2, "REDUCE": 2,
    "APPEND": 1, "SETITEM": 2, "BUILD": 1, "PROTO": 0, "STOP": 0,
}  # fmt: skip
"""How many values an instruction takes from the stack; torch follows no others than these and those below."""
_TAKE_TO_MARK = {"TUPLE", "APPENDS", "SETITEMS"}
_GIVE_NOTHING = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD", "PROTO", "STOP"}


def check_calls(opened: IO[bytes]) -> None:
    """See that no call makes more than the file has: what copies may not be given the same list again and again.

    Raises:
        Exception: A call does, or the file is damaged; which one, its author chooses.
    """
    for instructions in pickles(opened):
        _Stack().follow(instructions)


@dataclass(frozen=True, slots=True)
class _Value:
    made_by: str = ""
    """The instruction."""
    text: str = ""
    """Of a text, itself; of a global, its dotted name."""
    parts: tuple[_Value, ...] = ()
    """Of a tuple."""
    depth: int = 0
    size: int = 1
    shared: bool = False
    """It may be used again."""


class _Stack:
    def __init__(self) -> None:
        self._values: list[_Value | None] = []  # None: a mark
        self._memo: dict[object, _Value] = {}

    def follow(self, instructions: Iterator[Instruction]) -> None:
        for code, argument, _ in instructions:
            self._step(code.name, argument)

    def _step(self, name: str, argument: object) -> None:
        if name == "MARK":
            self._values.append(None)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._pop()
            self._values.append(self._memo[argument])
        elif name in ("BINGET", "LONG_BINGET"):
            self._values.append(replace(self._memo[argument], shared=True))
        else:
            taken = self._pop_to_mark() if name in _TAKE_TO_MARK else [self._pop() for _ in range(_TAKES[name])][::-1]
            if name == "REDUCE":
                _check_call(*taken)
            if name == "BUILD" and taken[0].shared:
                raise ValueError("attributes are copied from one place again and again")
            if name not in _GIVE_NOTHING:
                self._values.append(_made(name, argument, taken))

    def _pop(self) -> _Value:
        value = self._values.pop()
        if value is None:
            raise ValueError("a mark is taken for a value")
        return value

    def _pop_to_mark(self) -> list[_Value]:
        values = []
        while (value := self._values.pop()) is not None:
            values.append(value)
        return values[::-1]


def _made(name: str, argument: object, taken: list[_Value]) -> _Value:
    text = argument if isinstance(argument, str) else ""
    if not name.startswith("TUPLE"):
        return _Value(name, dotted(text) if name == "GLOBAL" else text)
    depth = 1 + max((part.depth for part in taken), default=0)
    size = 1 + sum(part.size for part in taken)
    if depth > _DEEPEST or size > _LARGEST:
        raise ValueError("tuples are nested too deeply")
    return _Value("TUPLE", "", tuple(taken), depth, size)


def _check_call(function: _Value, arguments: _Value) -> None:
    parts = arguments.parts
    if function.made_by != "GLOBAL" or arguments.made_by not in ("TUPLE", "EMPTY_TUPLE"):
        raise ValueError("a call is of no global, or its arguments are no tuple")
    if function.text in _COPIES and (arguments.shared or any(x.made_by != "EMPTY_LIST" or x.shared for x in parts)):
        raise ValueError("a copy of what is used elsewhere too")
    if function.text == "_codecs.encode":
        data, encoding = parts
        # Another encoding could double what it is given, and be given that again.
        if encoding.text != "latin1" or data.made_by != "BINUNICODE" or len(data.text) > _LONGEST_NUMBER:
            raise ValueError("a text is encoded that is no number")
