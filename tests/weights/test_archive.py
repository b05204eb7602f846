"""Zip archives of strangers: damage is found by the checksums, and none is larger than it looks."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from dat_cli.errors import WeightsError
from dat_cli.weights import open_checkpoint
from dat_cli.weights.archive import check_archive

MARK = 1234567936.0
"""A number whose bytes occur nowhere else in a file."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "x.pth"
    torch.save({"model": {"a": torch.full((1000,), MARK)}}, path)
    return path


def refusal(path: Path) -> str:
    """Why an archive is refused, which is one line for a person."""
    with pytest.raises(WeightsError, match=r"x\.pth is damaged") as caught:
        open_checkpoint(path)
    return str(caught.value.__cause__)


def flip(path: Path) -> None:
    """Flip one bit in the middle of the tensor, which leaves a finite number."""
    whole = bytearray(path.read_bytes())
    place = whole.index(struct.pack("<f", MARK) * 500) + 400
    whole[place] ^= 1
    path.write_bytes(whole)


def test_a_flipped_bit_in_a_tensor_is_found(saved: Path) -> None:
    assert torch.equal(open_checkpoint(saved)["model"]["a"], torch.full((1000,), MARK))
    flip(saved)
    with pytest.raises(WeightsError, match=r"x\.pth is damaged"):
        open_checkpoint(saved)


def test_a_file_written_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"model": {"a": torch.ones(3)}}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert open_checkpoint(tmp_path / "x.pth")["model"]["a"].tolist() == [1, 1, 1]


def test_a_compressed_entry_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert refusal(saved) == "an entry is compressed"


def test_an_entry_that_claims_more_than_the_file_has_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    claimed = whole.replace(struct.pack("<II", 4000, 4000), struct.pack("<II", 1 << 31, 1 << 31))
    assert claimed != whole
    saved.write_bytes(claimed)
    assert refusal(saved) == "its entries are larger than the file"


def test_one_name_twice_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("X/DATA/0", bytes(4000))  # torch finds names in either case
    assert refusal(saved) == "two entries have one name"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_checksums_of_a_large_file_take_little_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(50_000_000)}, tmp_path / "x.pth")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    with (tmp_path / "x.pth").open("rb") as opened:
        check_archive(opened)
    assert peak() - before < 50_000_000


def peak() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
