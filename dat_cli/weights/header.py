"""What can be known of weights without reading their tensors: shapes, and the SHA-256 that names them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dat_cli.weights.files import read_header
from dat_cli.weights.layout import is_layout, joined, weights_files
from dat_cli.weights.problems import existing_file, unreadable
from dat_cli.weights.read import read_tensors

_PIECE = 1 << 20


def tensor_shapes(path: Path | str) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name, from the headers alone: torch is not imported.

    A checkpoint of Lightning has no header; it is opened with torch, as a pickle without code.

    Args:
        path: A ``.safetensors`` or ``.ckpt`` file, or a folder in the layout of a Hub repository.

    Raises:
        WeightsError: It is missing or damaged, or two files of a folder hold a tensor of the same name.
    """
    path = Path(path)
    if path.suffix.lower() == ".ckpt" and not path.is_dir():
        return {name: tuple(tensor.shape) for name, tensor in read_tensors(path).items()}
    return joined(path, _shapes) if is_layout(path) else _shapes(path)


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of weights, in 64 hexadecimal digits.

    Args:
        path: A file, or a folder in the layout of a Hub repository. Of a folder it is that of its one file of tensors;
            of several, that of the text with a line ``<sha256>  <name>`` for each, in the order of their names, which
            is what ``sha256sum model-*.safetensors | sha256sum`` prints there.

    Raises:
        WeightsError: A file is missing or cannot be read.
    """
    path = Path(path)
    files = weights_files(path) if is_layout(path) else [path]
    if len(files) == 1:
        return _sha256_of_file(files[0])
    lines = [f"{_sha256_of_file(file)}  {file.name}\n" for file in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    return read_header(file).shapes


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    existing_file(path)
    try:
        with path.open("rb") as opened:
            while piece := opened.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()
