"""Labels of the pictures in shards, and which classes they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from dat_cli.data.tar import LABELS, TarSample
from dat_cli.data.walk import printable
from dat_cli.errors import DataError

Label = int | str
"""The number of a class, or its name."""

_JSON_KEYS = ("cls", "label", "class")


@dataclass(frozen=True)
class Labels:
    """Which class each label means. Numbers and names stay apart: a class can be called "1".

    Attributes:
        numbers: Index of the class that each number from 0 on means; None where it means none that is known.
        names: Index of the class of each name.
    """

    numbers: tuple[int | None, ...]
    names: Mapping[str, int]

    def index(self, label: Label) -> int | None:
        """Index of the class that a label means; None where it means none."""
        if isinstance(label, str):
            return self.names.get(label)
        return self.numbers[label] if 0 <= label < len(self.numbers) else None

    @classmethod
    def of(
        cls, known: tuple[str, ...], own: tuple[str, ...] | None, counts: Mapping[Label, int] | None, name: str
    ) -> Labels:
        """What labels mean where shards have an order of classes of their own.

        Args:
            known: Names of the classes.
            own: What the numbers in the shards count; None for ``known``.
            counts: Pictures of each label, where that is known: a class without pictures may be unknown.
            name: What to call the shards in an error.

        Raises:
            DataError: The shards have a class that is not known.
        """
        names = {given: index for index, given in enumerate(known)}
        own = known if own is None else own
        lacking = [
            given
            for number, given in enumerate(own)
            if given not in names and (counts is None or counts.get(number) or counts.get(given))
        ]
        if lacking:
            raise DataError(
                f"{name} has a class that the others lack: {printable(', '.join(lacking[:5]))[:200]}",
                hint=f"known are {printable(', '.join(known[:10]))[:200]}",
            )
        return cls(tuple(names.get(given) for given in own), names)


def label_of(sample: TarSample, shard: str) -> Label:
    """The label of a picture: .cls holds a number (or a name), .txt a name, .json one or the other by its type.

    Raises:
        DataError: There is none, or it is no text.
    """
    name = f"{shard}/{printable(sample.member)[:200]}"
    for ending in LABELS:
        try:
            text = sample.labels.get(ending, b"").decode().strip()
            label = _read(text, ending) if text else ""
        except (ValueError, RecursionError) as error:
            raise DataError(f"the label of {name} cannot be read: {printable(str(error))[:100]}") from error
        if label != "":
            return label
    raise DataError(f"{name} has no label", hint="each image needs a file of its name that ends in .cls, .json or .txt")


def _read(text: str, ending: str) -> Label:
    if ending == "json":
        return _label_in(json.loads(text))
    is_number = ending == "cls" and text.isdecimal() and len(text) < 20
    return int(text) if is_number else text


def _label_in(found: object) -> Label:
    if isinstance(found, dict):
        found = next((found[key] for key in _JSON_KEYS if key in found), None)
    if isinstance(found, str):
        return found.strip()
    return found if isinstance(found, int) and not isinstance(found, bool) else ""
