"""Tensors as the authors keep them: a .pth with the entry ``model``, or the same as safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dat_cli.errors import DatError

if TYPE_CHECKING:
    from torch import Tensor


def write_authors_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the file; an older one stays whole until the new one is on the disk.

    Args:
        path: File to write: ``.safetensors`` for such, anything else for what ``torch.save`` writes.
        tensors: By the authors' names.

    Raises:
        DatError: The disk is full or the folder cannot be written to.
        OSError: The same, where the system itself says so.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(os.path.realpath(path))  # a link stays a link
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    # Copies, because torch.save writes all of the memory that a view was cut from.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        with temporary.open("wb") as opened:
            mode = os.fstat(opened.fileno()).st_mode & 0o777  # as the umask wants it; safetensors writes 0600
            if path.suffix.lower() != ".safetensors":
                torch.save({"model": whole}, opened)  # into an open file: a path would be written into it
        if path.suffix.lower() == ".safetensors":
            save_file(whole, temporary, {"format": "pt"})
        temporary.chmod(mode)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (SafetensorError, RuntimeError) as error:  # what torch raises when its writer fails
        raise DatError(f"cannot write {path}: {(str(error).splitlines() or [''])[0][:200]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
