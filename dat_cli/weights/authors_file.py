"""Tensors as the authors keep them: a .pth with the entry ``model``, or the same as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.weights.writer import save_pickle
from dat_cli.whole import whole_file

if TYPE_CHECKING:
    from torch import Tensor


def write_authors_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the file; an older one stays whole until the new one is on the disk.

    Args:
        path: File to write: ``.safetensors`` for such, anything else for what ``torch.save`` writes.
        tensors: By the authors' names.

    Raises:
        DatError: The disk is full, the folder cannot be written to, or ``path`` is no ordinary file.
        OSError: The same, where the system itself says so.
    """
    from safetensors.torch import save_file

    # Copies, because torch.save writes all of the memory that a view was cut from.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".safetensors":
            save_file(whole, temporary, {"format": "pt"})
        else:
            save_pickle(temporary, {"model": whole})
