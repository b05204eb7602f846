"""The zip archive that torch.save writes: tensors as they are, each with a checksum."""

from __future__ import annotations

import os
import zipfile
from typing import IO

_PIECE = 1 << 20


def is_archive(opened: IO[bytes]) -> bool:
    """By the first bytes of the file, as torch decides it."""
    opened.seek(0)
    return opened.read(4) == b"PK\x03\x04"


def is_program(opened: IO[bytes]) -> bool:
    """It was saved by TorchScript: code beside tensors."""
    with zipfile.ZipFile(opened) as archive:
        return any(name.lower().endswith("/constants.pkl") for name in archive.namelist())


def check_archive(opened: IO[bytes]) -> None:
    """Read the archive once, in pieces, and see that it is whole and as large as it says.

    Raises:
        Exception: It is damaged, compressed (torch.save compresses nothing, a small file could unfold to fill the
            memory), or claims more than it holds; which one, its author chooses.
    """
    size = os.fstat(opened.fileno()).st_size
    with zipfile.ZipFile(opened) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("an entry is compressed")
        if sum(max(entry.file_size, entry.compress_size) for entry in entries) > size:
            raise ValueError("its entries are larger than the file")
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise ValueError("two entries have one name")  # zipfile and torch could each take another
        for entry in entries:
            # torch.save can be told to leave checksums out, and then writes zeros.
            if entry.CRC:
                with archive.open(entry) as record:
                    while record.read(_PIECE):
                        pass
