"""Findings as files: two tables for people and programs, and the worst mistakes with their pictures."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dat_cli.errors import DataError
from dat_cli.report.findings import ClassRow, Findings, Mistake
from dat_cli.whole import whole_file

CONFUSION, CLASSES, MISTAKES = "confusion.csv", "classes.csv", "mistakes.json"

_PNG_UNTIL = 64  # pixels; larger pictures are photographs, which JPEG keeps in a tenth of the bytes


def write_findings(folder: Path, findings: Findings) -> None:
    """Write ``confusion.csv``, ``classes.csv`` and ``mistakes.json`` over those of an earlier measurement.

    None of them is replaced before all are complete.

    Raises:
        DatError: A file of that name is no ordinary one.
        OSError: The folder cannot be written, or the disk is full.
    """
    texts = {
        CONFUSION: _table(["true \\ predicted", *findings.classes], _confusion_rows(findings)),
        CLASSES: _table(ClassRow._fields, [[_cell(value) for value in row] for row in findings.per_class()]),
        MISTAKES: json.dumps(_as_json(findings), ensure_ascii=True, allow_nan=False, indent=1),
    }
    with ExitStack() as files:
        for name, text in texts.items():
            temporary = files.enter_context(whole_file(folder / name))
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def read_findings(folder: Path) -> Findings | None:
    """What ``write_findings`` wrote; None where it did not.

    Raises:
        DataError: The files do not belong together, or are damaged.
    """
    if not all((folder / name).is_file() for name in (CONFUSION, MISTAKES)):
        return None
    try:
        with (folder / CONFUSION).open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))
        said = json.loads((folder / MISTAKES).read_text(encoding="utf-8"))
        classes = tuple(table[0][1:])
        confusion = np.array([row[1:] for row in table[1:]], dtype=np.int64).reshape(len(classes), len(classes))
        mistakes = tuple(_mistake(entry, len(classes)) for entry in said["mistakes"])
        return Findings(said["part"], classes, confusion, mistakes, said["scores"])
    except (ValueError, KeyError, TypeError, IndexError, OSError, csv.Error) as error:
        raise DataError(f"cannot read what was measured in {folder}: {error}", hint="measure again") from error


def data_address(image: npt.NDArray[np.uint8]) -> str:
    """A picture as an address that holds the picture itself.

    Args:
        image: (height, width, 3).
    """
    picture, stream = Image.fromarray(image), io.BytesIO()
    kind = "png" if max(picture.size) <= _PNG_UNTIL else "jpeg"
    picture.save(stream, kind, **({"quality": 85} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _confusion_rows(findings: Findings) -> list[list[Any]]:
    return [[name, *row] for name, row in zip(findings.classes, findings.confusion.tolist(), strict=True)]


def _table(header: Any, rows: list[list[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _as_json(findings: Findings) -> dict[str, Any]:
    return {
        "part": findings.part,
        "images": findings.images,
        "scores": {name: value for name, value in findings.scores.items() if math.isfinite(value)},
        "mistakes": [
            {
                "name": mistake.name,
                "true": findings.classes[mistake.truth],
                "predicted": findings.classes[mistake.predicted],
                "probability": round(mistake.probability, 6),
                "true_probability": round(mistake.truth_probability, 6),
                "indices": [mistake.truth, mistake.predicted],
                "picture": data_address(mistake.image),
            }
            for mistake in findings.mistakes
        ],
    }


def _mistake(entry: dict[str, Any], classes: int) -> Mistake:
    truth, predicted = entry["indices"]
    if not (0 <= truth < classes and 0 <= predicted < classes):
        raise ValueError("a mistake is of a class that the tables lack")
    picture = Image.open(io.BytesIO(base64.b64decode(entry["picture"].partition(",")[2])), formats=("PNG", "JPEG"))
    image = np.asarray(picture.convert("RGB"))
    return Mistake(entry["name"], image, truth, predicted, entry["probability"], entry["true_probability"])
