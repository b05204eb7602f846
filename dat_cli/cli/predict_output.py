"""Where predictions go: to the terminal as they come, or to a file that gets its name when it is whole."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dat_cli.cli.files import result_file
from dat_cli.cli.wall import INTERRUPTED, TERMINATED
from dat_cli.data.walk import printable
from dat_cli.errors import DatError, UsageError
from dat_cli.run.part import Part
from dat_cli.run.records import Format, RecordWriter

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_FORMATS: tuple[Format, ...] = get_args(Format)
_BY_SUFFIX: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "table"}
_STOPPED: dict[int, str] = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}

_log = logging.getLogger("dat.predict")


class Results:
    """The results of one command, and how many there are at its end.

    Args:
        output: The file that they are for; None for standard output.
        format: How they are written.
        part: Where they stand until they are whole; None where they are written as they come.
        batch_size: Images in a batch, which processes do in turn.
    """

    def __init__(
        self,
        output: Path | None,
        format: Format,  # noqa: A002 - the option's name
        part: Part | None,
        *,
        batch_size: int,
    ) -> None:
        self.output = output
        self.format = format
        self.part = part
        self.batch_size = batch_size
        self.written = 0
        self.failed = 0

    @contextmanager
    def sink(self, trainer: Trainer) -> Iterator[RecordWriter | Part]:
        """What a process writes to; at the end the first one sees to it that results are where they belong."""
        with ExitStack() as opened:
            part = self.part
            if part is None and trainer.world_size > 1:  # each process needs a file to write to
                prefix = "dat-predict-"
                of_first = trainer.is_global_zero
                folder = opened.enter_context(tempfile.TemporaryDirectory(prefix=prefix)) if of_first else ""
                part = Part(Path(folder, "results"), batch_size=self.batch_size)
            if part is None:
                with self._stream() as writer:
                    yield writer
                self.written, self.failed = writer.written, writer.failed
                return
            yield part
            if trainer.is_global_zero:
                self._finish(part)

    def _finish(self, part: Part) -> None:
        self.written, self.failed = part.count()
        if self.output is not None and self.part is not None and self.format == "jsonl":
            part.become(self.output)
            return
        with self._stream() as writer:
            part.copy_to(writer)
        part.discard()

    @contextmanager
    def _stream(self) -> Iterator[RecordWriter]:
        if self.output is None:
            yield RecordWriter(sys.stdout, self.format)
            return
        with result_file(self.output) as stream:
            yield RecordWriter(stream, self.format)


class StoppedError(DatError):
    """A signal stopped the command."""

    def __init__(self, exit_code: int, place: Path) -> None:
        what = f"{_STOPPED[exit_code]}; results so far are in {printable(place)}"
        super().__init__(what, hint="go on with the same command and --resume true")
        self.exit_code = exit_code


@contextmanager
def saying_how_on(part: Part) -> Iterator[None]:
    """Say of what ends before all is done how to go on, if something is done.

    Raises:
        StoppedError: A signal ended it.
    """
    try:
        yield
    except UsageError:  # the same command would not go on
        raise
    except BaseException as error:
        if part.is_empty():
            raise
        stop = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "code", None)
        if isinstance(stop, int) and stop in _STOPPED:
            raise StoppedError(stop, part.place) from None
        _log.info("results so far are in %s; go on with the same command and --resume true", printable(part.place))
        raise


def format_of(given: Format | None, output: str | None) -> Format:
    """The format that was asked for, or that the suffix of the output says.

    Raises:
        UsageError: Nothing says it.
    """
    if given is not None:
        return given
    if output is None:
        return "table"
    suffix = Path(output).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise UsageError(
            f"--output {printable(output)}: its suffix does not say how to write",
            hint=f"pass --format {'|'.join(_FORMATS)}, or end it in {', '.join(_BY_SUFFIX)}",
        )
    return _BY_SUFFIX[suffix]


def can_wait(output: Path) -> bool:
    """Whether results can stand beside a file until they are whole: not where it is a device or a pipe.

    Raises:
        UsageError: Nothing can be written there at all.
    """
    try:
        place = Path(os.path.realpath(output))
        if place.is_dir():
            raise UsageError(f"output {str(output)!r} is a folder", hint="give the name of a file in it")
        if place.exists() and not place.is_file():
            return False
        reason = "" if os.access(place.parent, os.W_OK | os.X_OK) else "its folder is missing or cannot be written"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    if reason:
        raise UsageError(f"output {str(output)[-200:]!r} cannot be written ({reason})")
    return True
