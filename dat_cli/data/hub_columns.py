"""Which columns of a data set of the Hub hold pictures and labels, and what the labels mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dat_cli.data.stream import StreamOptions
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Columns:
    """Which columns hold pictures and labels, and the classes that the labels' type names."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def find_columns(features: Any, options: StreamOptions, source: str) -> Columns:
    """The columns that options name, or else those of such types.

    Args:
        features: Types of the columns by their names.
        options: Names of columns.
        source: What to call the data set in an error.

    Raises:
        DataError: There is no such column, or there are several.
    """
    from datasets import ClassLabel, Image  # type: ignore[import-untyped]  # it has none

    image = options.image_column or _only(features, Image, "image", source)
    label = options.label_column or _only(features, ClassLabel, "label", source)
    for option, column, kinds in (("image_column", image, Image), ("label_column", label, None)):
        if column not in features:
            hint = did_you_mean(column, features) or f"there are {_listed(features)}"
            raise DataError(f"{source} has no column {printable(column)[:100]} (data.{option})", hint=hint)
        if kinds and not isinstance(features[column], kinds):
            raise DataError(f"column {printable(column)[:100]} of {source} holds no images", hint=_listed(features))
    feature = features[label]
    names = tuple(feature.names) if isinstance(feature, ClassLabel) and feature.names else None
    return Columns(image, label, names)


def _only(features: Any, kind: type, what: str, source: str) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return str(found[0])
    many = f"{len(found)} columns of {what}s" if found else f"no column of {what}s ({kind.__name__})"
    raise DataError(f"{source} has {many}", hint=f"choose with --data.{what}_column: {_listed(found or features)}")


def _listed(columns: Any) -> str:
    return printable(", ".join(map(str, columns)))[:300]


def meanings(own: tuple[str, ...] | None, known: tuple[str, ...], source: str) -> dict[int | str, int]:
    """Index of the class that each label means: a number, or a name where the labels' type is no number.

    Args:
        own: Names that the data set gives its classes.
        known: Names that indices count.
        source: What to call the data set in an error.

    Raises:
        DataError: The data set has a class that is not known.
    """
    index: dict[int | str, int] = {name: label for label, name in enumerate(known)}
    unknown = [name for name in own or () if name not in index]
    if unknown:
        raise DataError(
            f"{source} has a class that the weights lack: {printable(', '.join(unknown[:5]))[:200]}",
            hint=f"known are {printable(', '.join(known[:10]))[:200]}",
        )
    return {**index, **{label: index[name] for label, name in enumerate(own or known)}}
