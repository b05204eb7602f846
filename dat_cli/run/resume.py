"""Go on with a prediction that was interrupted: which of its lines stay, and which images are left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from dat_cli.data.remote_file import shown
from dat_cli.data.walk import printable
from dat_cli.errors import DataError
from dat_cli.run.records import line_begins

END = b"}\n"
"""How a line ends that is whole."""


class Remaining:
    """The images that are not done yet.

    Args:
        paths: All images, in order.
        done: Says how many are done, when one iterates.
    """

    def __init__(self, paths: Iterable[str], done: Callable[[], int]) -> None:
        self.paths = paths
        self.done = done

    def __iter__(self) -> Iterator[str]:
        """Yield those after the ones that are done."""
        return islice(iter(self.paths), self.done(), None)


def keep_whole_batches(place: Path, paths: Iterable[str], batch_size: int) -> int:
    """Cut off what follows the last whole batch.

    A batch is done again as a whole, because what a network finds depends in its last digits on what else is in a
    batch: so the result is that of an undisturbed run.

    Args:
        place: Where the lines stand.
        paths: All images in order, of which those that are done come first.
        batch_size: Images in a batch from now on.

    Returns:
        How many images stay.

    Raises:
        DataError: The images are others.
    """
    expected, position, done, end = iter(paths), 0, 0, 0
    with place.open("r+b") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(END):
                break
            path = next(expected, None)
            if path is None or not line.startswith(line_begins(path)):
                found = "there is no such image now" if path is None else f"it is {shown(path)} now"
                raise DataError(
                    f"cannot go on with {printable(place)}: image {number} is another than before ({found})",
                    hint=f"give the same images in the same order, or remove {printable(place.name)} to begin anew",
                )
            position += len(line)
            if number % batch_size == 0:
                done, end = number, position
        file.truncate(end)
        file.flush()
        os.fsync(file.fileno())
    return done
