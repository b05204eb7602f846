"""Files of vectors: read by NumPy and Arrow, streamed, whole or not there."""

from __future__ import annotations

import csv
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dat_cli.errors import UsageError
from dat_cli.run.vectors import check_vector_file, vector_file

FACTS = {"weights": "runs/photos", "sha256": "0" * 64}
PATHS = ["a.png", 'two\nlines, and "quotes".png', "b\udce9.png", "猫/c\r.png"]
SAID = [*PATHS[:2], "b\\xe9.png", PATHS[3]]
NUMBERS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def write(path: Path) -> None:
    with vector_file(path, 6, FACTS) as add:
        add(PATHS[:3], NUMBERS[:3])
        add([], NUMBERS[:0])  # a batch without an image that could be read
        add(PATHS[3:], NUMBERS[3:])


def test_numpy_reads_the_vectors_and_a_table_beside_them_has_their_paths(tmp_path: Path) -> None:
    write(tmp_path / "v.npy")
    read = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert read.dtype == np.float32
    assert np.array_equal(read, NUMBERS)
    with (tmp_path / "v.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == SAID
    assert len(list(tmp_path.iterdir())) == 2


def test_parquet_has_both_and_what_made_them(tmp_path: Path) -> None:
    write(tmp_path / "v.parquet")
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column("path").to_pylist() == SAID
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[6]"
    assert np.array_equal(np.array(table.column("embedding").to_pylist(), np.float32), NUMBERS)
    assert table.schema.metadata == {name.encode(): value.encode() for name, value in FACTS.items()}


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_no_image_at_all_is_an_empty_file(tmp_path: Path, name: str) -> None:
    with vector_file(tmp_path / name, 6, FACTS):
        pass
    path = tmp_path / name
    rows, size = np.load(path).shape if name == "v.npy" else (pq.read_table(path).num_rows, 6)
    assert (rows, size) == (0, 6)


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with suppress(KeyboardInterrupt), vector_file(tmp_path / name, 6, FACTS) as add:
        add(["other.png"], NUMBERS[:1])
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["v.npy", "v.parquet"])
def test_memory_does_not_grow_with_the_number_of_vectors(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dat_cli.run.vectors._GROUP", 64)
    tracemalloc.start()
    with vector_file(tmp_path / name, 512, FACTS) as add:
        for index in range(400):  # 13 MB
            add([f"{index}.png"] * 16, np.full((16, 512), index, np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / name).stat().st_size > (100_000 if name == "v.parquet" else 13_000_000)
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v.csv", "ends in neither .npy nor .parquet; give NAME.npy"),
        ("folder.npy", "is a folder"),
        ("no/v.npy", "there is no folder"),
        ("mine.npy", "mine.csv would be replaced, but is not of dat"),
    ],
)
def test_a_place_that_is_not_for_vectors_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "mine.csv").write_text("name,age\n")
    with pytest.raises(UsageError) as caught:
        check_vector_file(tmp_path / name)
    assert said in str(caught.value)


def test_without_what_writes_parquet_its_installation_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dat_cli.run.vectors.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install dat-cli\[parquet\]"):
        check_vector_file(tmp_path / "v.parquet")
    check_vector_file(tmp_path / "v.npy")
