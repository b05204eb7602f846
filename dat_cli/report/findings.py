"""What a measurement found out: how each class fares, what is taken for what, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Part = Literal["val", "test"]


@dataclass(frozen=True)
class Mistake:
    """A picture that was given the wrong class.

    Attributes:
        name: Path of the picture, or shard and member.
        image: The picture as the network saw it, made small, (height, width, 3).
        truth: Index of its class.
        predicted: Index of the class that it was given.
        probability: Of the class that it was given, from 0 to 1.
        truth_probability: Of its class.
    """

    name: str
    image: npt.NDArray[np.uint8] = field(repr=False)
    truth: int
    predicted: int
    probability: float
    truth_probability: float


class ClassRow(NamedTuple):
    """How one class fares.

    Attributes:
        name: Of the class.
        images: Pictures of the class.
        correct: Those that were given it.
        recall: Share of its pictures that were given it; None without pictures.
        precision: Share that is of the class, among the pictures that were given it; None where none was.
        f1: Harmonic mean of the two; None where the class neither exists nor was given.
        confused_with: The class that its pictures were most often given instead; None where that never happened.
        confused: How many were.
    """

    name: str
    images: int
    correct: int
    recall: float | None
    precision: float | None
    f1: float | None
    confused_with: str | None
    confused: int


class Confusion(NamedTuple):
    """Pictures of one class that were given another."""

    truth: str
    predicted: str
    images: int
    share: float  # of all pictures of the true class


@dataclass(frozen=True)
class Findings:
    """One measurement.

    Attributes:
        part: Which part of the data was measured.
        classes: Names of the classes, by index.
        confusion: Pictures of each class (rows) by the class that they were given (columns), (classes, classes).
        mistakes: The worst, those first of which the network was most certain.
        scores: ``loss``, ``acc1``, ``acc5``, ``f1``: those that are known, accuracies as fractions.
    """

    part: Part
    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64] = field(repr=False)
    mistakes: tuple[Mistake, ...] = field(repr=False)
    scores: Mapping[str, float]

    @property
    def images(self) -> int:
        """How many pictures were measured."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """How many were given their class."""
        return int(self.confusion.trace())

    def per_class(self) -> list[ClassRow]:
        """How each class fares, in the order of the classes."""
        images, given = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        correct, wrong = self.confusion.diagonal(), self._wrong()
        worst = wrong.argmax(axis=1)
        rows = []
        for index, name in enumerate(self.classes):
            other = int(worst[index])
            confused = int(wrong[index, other])
            rows.append(
                ClassRow(
                    name=name,
                    images=int(images[index]),
                    correct=int(correct[index]),
                    recall=_share(correct[index], images[index]),
                    precision=_share(correct[index], given[index]),
                    f1=_share(2 * correct[index], images[index] + given[index]),
                    confused_with=self.classes[other] if confused else None,
                    confused=confused,
                )
            )
        return rows

    def confusions(self, most: int) -> list[Confusion]:
        """The pairs of classes with the most mistakes, at most so many, the most frequent first."""
        wrong, images = self._wrong(), self.confusion.sum(axis=1)
        truths, given = np.nonzero(wrong)
        order = np.argsort(-wrong[truths, given], kind="stable")[:most]
        return [
            Confusion(
                self.classes[truth], self.classes[guess], int(wrong[truth, guess]), wrong[truth, guess] / images[truth]
            )
            for truth, guess in zip(truths[order], given[order], strict=True)
        ]

    def _wrong(self) -> npt.NDArray[np.int64]:
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        return wrong


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None
