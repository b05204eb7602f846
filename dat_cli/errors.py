"""Errors that a person can cause: each says what is wrong, where, and what to do next.

The command line prints them as one line and ends with ``exit_code``; only with ``DAT_DEBUG=1`` does
it show a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DatError(Exception):
    """The run failed.

    Args:
        message: What is wrong and where (a file, an option, a tensor's name), without a full stop.
        hint: What to do next, often a command.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(DatError):
    """An option or a configuration is wrong."""

    exit_code = 2


class DataError(DatError):
    """Images or a data set cannot be used."""

    exit_code = 2


class ModelError(DatError, ValueError):
    """A network cannot be built, or was given an input that it cannot take."""

    exit_code = 2


class WeightsError(DatError):
    """A weights file cannot be read, or does not fit."""

    exit_code = 2


class HubError(DatError):
    """The Hugging Face Hub or the network refused."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the known name nearest to ``name``, or None when nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None
