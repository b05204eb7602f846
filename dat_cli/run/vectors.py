"""Files of vectors with the images that they are of, written as they come and never seen half-written."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from dat_cli.data.walk import printable, unicode
from dat_cli.errors import UsageError
from dat_cli.whole import whole_file

Vectors: TypeAlias = npt.NDArray[np.float32]
Write: TypeAlias = Callable[[Sequence[str], Vectors], None]
"""Takes the paths of some images and their vectors, (N, size)."""

SUFFIXES = (".npy", ".parquet")

_HEADER = "path"
_GROUP = 8192  # rows that are written, and later read, at once


def names_beside(path: Path) -> Path:
    """The table with the paths of the images whose vectors are in a ``.npy`` file."""
    return path.with_suffix(".csv")


def check_vector_file(path: Path) -> None:
    """See what can be seen before anything is computed.

    Raises:
        UsageError: The suffix is neither ``.npy`` nor ``.parquet``, the place cannot be written, a table beside it is
            somebody else's, or what writes Parquet is not installed.
    """
    shown, suffix = printable(str(path)), path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--output {shown} ends in neither .npy nor .parquet", hint="give NAME.npy or NAME.parquet")
    if path.is_dir():
        raise UsageError(f"--output {shown} is a folder", hint="give the name of a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {printable(str(path.parent))}", hint="make it first")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("writing .parquet needs pyarrow", hint="pip install dat-cli[parquet], or give NAME.npy")
    names = names_beside(path)
    if suffix == ".npy" and names.exists() and not _is_ours(names):
        raise UsageError(f"{printable(str(names))} would be replaced, but is not of dat", hint="give another --output")


@contextmanager
def vector_file(path: Path, size: int, facts: dict[str, str]) -> Iterator[Write]:
    """A file of vectors that gets its name when it is complete; an exception leaves everything as it was.

    A ``.npy`` file holds the vectors alone, (images, size) in single precision; ``names_beside`` has the path of each
    row. A ``.parquet`` file has the columns ``path`` and ``embedding``, a list of fixed size.

    Args:
        path: The file.
        size: Of a vector.
        facts: What a Parquet file says of its vectors, such as the weights that they were made with.

    Yields:
        What to call with some images and their vectors.
    """
    with ExitStack() as files:
        temporary = files.enter_context(whole_file(path))
        if path.suffix.lower() == ".parquet":
            writer = _parquet(temporary, size, facts)
        else:
            writer = _npy(temporary, files.enter_context(whole_file(names_beside(path))), size)
        with writer as write:
            yield write


@contextmanager
def _npy(path: Path, names: Path, size: int) -> Iterator[Write]:
    rows = 0
    with path.open("wb") as file, names.open("w", encoding="utf-8", newline="") as listed:
        table = csv.writer(listed, lineterminator="\n")
        quoted = csv.writer(listed, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writerow([_HEADER])
        _write_header(file, rows, size)

        def write(paths: Sequence[str], vectors: Vectors) -> None:
            nonlocal rows
            file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            for name in map(unicode, paths):  # some versions of Python leave a carriage return, which ends a row, bare
                (quoted if "\r" in name else table).writerow([name])
            rows += len(paths)

        yield write
        file.seek(0)
        _write_header(file, rows, size)  # NumPy leaves room for the number of rows to grow


def _write_header(file: BinaryIO, rows: int, size: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, size)})


@contextmanager
def _parquet(path: Path, size: int, facts: dict[str, str]) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32(), size))], metadata=facts)
    pending: list[tuple[Sequence[str], Vectors]] = []

    def flush() -> None:
        names = [unicode(path) for paths, _ in pending for path in paths]
        numbers = np.concatenate([np.empty((0, size), np.float32), *(vectors for _, vectors in pending)])
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), pa.float32()), size)
        writer.write_table(pa.table([pa.array(names, pa.string()), vectors], schema=schema))
        pending.clear()

    def write(paths: Sequence[str], vectors: Vectors) -> None:
        pending.append((paths, vectors))
        if sum(len(some) for some, _ in pending) >= _GROUP:
            flush()

    with parquet.ParquetWriter(str(path), schema, use_dictionary=False) as writer:
        yield write
        if pending:
            flush()


def _is_ours(names: Path) -> bool:
    try:
        with names.open(encoding="utf-8") as file:
            return file.readline(len(_HEADER) + 2).strip() == _HEADER
    except (OSError, ValueError):
        return False
