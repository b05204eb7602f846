"""Batches from shards: shared out, mixed, and gone on with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from PIL import Image
from torch import Tensor

from dat_cli.data import stream_batches
from dat_cli.data.batch import PADDING, Batch
from dat_cli.data.loader import EpochLoader
from dat_cli.data.samples import Samples
from dat_cli.data.shard_writer import ShardSize, write_shards
from dat_cli.data.shards import open_shards
from dat_cli.data.stream import Stream, StreamOptions
from dat_cli.data.stream_batches import StreamBatches
from dat_cli.errors import DataError

COUNTS = (7, 8, 9, 10, 11)  # 45 pictures


class MakeShards(Protocol):
    def __call__(self, root: Path, counts: Sequence[int]) -> list[Path]: ...


@pytest.fixture
def stream(make_shards: MakeShards, tmp_path: Path) -> Stream:
    make_shards(tmp_path, COUNTS)
    return opened(tmp_path, len(COUNTS))


def opened(root: Path, shards: int) -> Stream:
    pattern = f"{root}/{{000..{shards - 1:03d}}}.tar"
    train = open_shards(pattern, options=StreamOptions(val_source=pattern)).train
    assert isinstance(train, Stream)
    return train


def transform(image: Image.Image) -> Tensor:
    """The picture's number, and a random one, as (1, 1, 2)."""
    return torch.tensor([[[float(image.getpixel((0, 0))[0]), torch.rand(()).item()]]])  # type: ignore[index]


def batches_of(stream: Stream, *, train: bool = True, **wanted: Any) -> StreamBatches:
    options = {"batch_size": 4, "rank": 0, "world": 1, "workers": 0, "seed": 1, **wanted}
    return StreamBatches(stream, transform, train=train, **options)


def load(batches: StreamBatches, epoch: int = 0, start: int = 0) -> list[Batch]:
    """What a loader gives, with worker processes where there are several workers."""
    processes = batches.workers if batches.workers > 1 else 0
    position = (epoch, start)
    return list(EpochLoader(batches, order=batches, position=lambda: position, batch_size=None, num_workers=processes))


def numbers(batches: Sequence[Batch]) -> list[list[int]]:
    return [batch.images[:, 0, 0, 0].long().tolist() for batch in batches]


def flat(batches: Sequence[Batch]) -> list[int]:
    return list(chain.from_iterable(numbers(batches)))


def names(batches: Sequence[Batch]) -> list[str]:
    return list(chain.from_iterable(batch.names for batch in batches))


@pytest.mark.parametrize(("world", "workers", "batch_size"), [(1, 1, 4), (2, 3, 4), (3, 1, 2), (4, 8, 1)])
def test_processes_train_on_equally_many_full_batches_and_on_no_picture_twice(
    stream: Stream, world: int, workers: int, batch_size: int
) -> None:
    seen: list[int] = []
    for rank in range(world):
        batches = batches_of(stream, rank=rank, world=world, workers=workers, batch_size=batch_size)
        found = numbers(list(batches))
        assert len(found) == len(batches) == 45 // (batch_size * world)
        assert {len(batch) for batch in found} == {batch_size}
        seen += chain.from_iterable(found)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("counts", "world", "batch_size"), [((7,), 2, 3), ((7,), 3, 2), ((2, 2), 8, 4), (COUNTS, 2, 8)]
)
@pytest.mark.parametrize("workers", [1, 2])
def test_each_picture_is_measured_once_in_equally_many_batches_of_one_size(
    make_shards: MakeShards, tmp_path: Path, counts: Sequence[int], world: int, batch_size: int, workers: int
) -> None:
    make_shards(tmp_path, counts)
    stream = opened(tmp_path, len(counts))
    seen, lengths = [], set()
    for rank in range(world):
        batches = batches_of(stream, train=False, rank=rank, world=world, workers=workers, batch_size=batch_size)
        found = list(batches)
        lengths |= {len(found), len(batches)}
        assert {batch.images.shape[0] for batch in found} == {batch_size}
        entries = [
            (int(image[0, 0, 0]), label, name)
            for batch in found
            for image, label, name in zip(batch.images, batch.labels.tolist(), batch.names, strict=True)
        ]
        assert all((label == PADDING) == (name == "") for _, label, name in entries)
        seen += [(number, label) for number, label, _ in entries if label != PADDING]
    assert sorted(seen) == [(number, number % 3) for number in range(sum(counts))]
    assert len(lengths) == 1


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_an_epoch_goes_on_at_any_batch_to_the_same_pixels(stream: Stream, workers: int) -> None:
    batches = batches_of(stream, workers=workers, rank=1, world=2)
    whole = load(batches, epoch=3)
    for start in range(1, len(whole)):
        rest = load(batches, 3, start)
        assert [batch.names for batch in rest] == [batch.names for batch in whole[start:]]
        assert all(ours.images.equal(theirs.images) for ours, theirs in zip(rest, whole[start:], strict=True))


def test_a_run_that_goes_on_opens_only_shards_that_it_needs(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_batches, "_POOL_COUNT", 2)
    batches = batches_of(stream)
    whole = load(batches)
    done = {name.rpartition("/")[0] for batch in whole[:6] for name in batch.names}
    left = {name.rpartition("/")[0] for batch in whole[6:] for name in batch.names}
    for shard in done - left:
        Path(shard).unlink()
    assert done - left
    assert numbers(load(batches, 0, 6)) == numbers(whole)[6:]


def test_epochs_and_seeds_have_orders_of_their_own_and_mix_across_shards(stream: Stream) -> None:
    batches = batches_of(stream)
    orders = [flat(load(batches, epoch)) for epoch in (0, 1, 0)]
    orders.append(flat(load(batches_of(stream, seed=2))))
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert orders[0] != orders[3]
    distances = [abs(one - other) for one, other in zip(orders[0], orders[0][1:], strict=False)]
    assert sum(distances) / len(distances) > 8  # of neighbours in a random order of 45 it is 15


def test_shards_come_in_another_order_each_epoch(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_batches, "_POOL_COUNT", 1)  # nothing else is mixed
    batches = batches_of(stream)
    orders = [list(dict.fromkeys(name.rpartition("/")[0] for name in names(load(batches, epoch)))) for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) != orders[0]


def test_pictures_of_one_shard_are_mixed_by_epoch_and_by_process(make_shards: MakeShards, tmp_path: Path) -> None:
    make_shards(tmp_path, [40])
    stream = opened(tmp_path, 1)
    one, next_epoch = (flat(load(batches_of(stream, world=2), epoch)) for epoch in (0, 1))
    other = flat(load(batches_of(stream, rank=1, world=2)))
    assert sorted(one) == sorted(next_epoch) == list(range(20))
    assert one != sorted(one)
    assert one != next_epoch
    assert one != [number - 20 for number in other]


def test_large_pictures_make_a_small_pool_and_so_do_those_of_unknown_size() -> None:
    assert stream_batches._pool_size(100_000) == 1024
    assert stream_batches._pool_size(4 << 20) == 32
    assert stream_batches._pool_size(0) == 128


def test_what_is_random_in_a_picture_depends_on_seed_and_epoch_and_not_on_who_loads_it(stream: Stream) -> None:
    def drawn(epoch: int = 1, **options: Any) -> dict[int, float]:
        found = load(batches_of(stream, **options), epoch)
        return {int(image[0, 0, 0]): float(image[0, 0, 1]) for batch in found for image in batch.images}

    alone = drawn()
    for other in (drawn(workers=2), drawn(rank=1, world=2)):
        assert all(alone[number] == value for number, value in other.items() if number in alone)
    assert len(set(alone.values())) == len(alone)
    assert alone != drawn(epoch=2)
    assert alone != drawn(seed=2)


def test_workers_that_stay_follow_the_epoch(stream: Stream) -> None:
    places = iter([(0, 0), (1, 2), (0, 0)])
    batches = batches_of(stream, workers=2)
    loader = EpochLoader(
        batches, order=batches, position=lambda: next(places), batch_size=None, num_workers=2, persistent_workers=True
    )
    first, second, again = (numbers(list(loader)) for _ in range(3))
    assert first == again == numbers(load(batches, 0))
    assert second == numbers(load(batches, 1, 2))
    assert len(loader) == len(first) == 11


def test_fewer_pictures_than_a_batch_make_a_smaller_one(make_shards: MakeShards, tmp_path: Path) -> None:
    make_shards(tmp_path, [5])
    assert [len(batch) for batch in numbers(list(batches_of(opened(tmp_path, 1), batch_size=32, world=2)))] == [2]
    with pytest.raises(DataError, match="5 training images for 8 processes"):
        batches_of(opened(tmp_path, 1), world=8)


@pytest.fixture
def damaged(make_shards: MakeShards, tmp_path: Path) -> Stream:
    """45 pictures, the 11th of which is damaged."""
    (path, *_) = make_shards(tmp_path, [45])
    data = bytearray(path.read_bytes())
    start = data.index(b"000010.png") + 512
    data[start : start + 16] = bytes(16)
    path.write_bytes(data)
    return opened(tmp_path, 1)


def test_a_damaged_picture_stops_the_run_with_its_shard_and_name(damaged: Stream) -> None:
    with pytest.raises(DataError, match=r"cannot read \S+/000\.tar/000010\.png: .*; .*--data.damaged skip"):
        load(batches_of(damaged, train=False))


def test_a_damaged_picture_is_left_out_and_counted(damaged: Stream, caplog: pytest.LogCaptureFixture) -> None:
    measured = list(batches_of(damaged, train=False, skip_damaged=True))
    assert sum(int((batch.labels != PADDING).sum()) for batch in measured) == 44
    caplog.clear()
    trained = flat(list(batches_of(damaged, skip_damaged=True, batch_size=5)))
    assert len(trained) == 45
    assert set(trained) == set(range(45)) - {10}
    assert "000.tar/000010.png" in caplog.messages[0]
    assert "left out 1 damaged images" in caplog.messages[1]


@pytest.mark.parametrize("train", [False, True])
def test_a_batch_of_damaged_pictures_alone_does_not_end_a_run_and_is_the_same_after_a_resume(
    damaged: Stream, train: bool
) -> None:
    batches = batches_of(damaged, train=train, skip_damaged=True, batch_size=1)
    whole = load(batches, epoch=1)
    assert len(whole) == 45
    seen = [number for batch, (number,) in zip(whole, numbers(whole), strict=True) if batch.labels != PADDING]
    assert set(seen) == set(range(45)) - {10}
    if train:
        for start in range(45):
            batches.begin(1, start)
            assert next(iter(batches)).images.equal(whole[start].images)


def test_a_part_without_any_whole_picture_is_an_error(damaged: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, _transform: object, name: str) -> Image.Image:
        raise DataError(f"cannot read {name}")

    monkeypatch.setattr(stream_batches, "read", refuse)
    with pytest.raises(DataError, match=r"44 images of \S+ \(train\) one after another are damaged; the log names"):
        load(batches_of(damaged, skip_damaged=True))


_EPOCH = """
import sys
from pathlib import Path
import torch
from dat_cli.data.shards import open_shards
from dat_cli.data.stream import StreamOptions
from dat_cli.data.stream_batches import StreamBatches

def memory():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])

source = open_shards(sys.argv[1], options=StreamOptions())
batches = StreamBatches(
    source.train, lambda image: torch.zeros(3, 8, 8), batch_size=100, rank=0, world=1, workers=0, seed=0, train=True
)
sizes = []
for number, batch in enumerate(batches):
    if number % 50 == 0:
        sizes.append(memory())
print(len(batches) * 100, max(sizes[2:]) - sizes[2])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux shows it")
def test_memory_stays_flat_over_an_epoch_of_100_000_pictures(tmp_path: Path) -> None:
    pictures = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(pictures):
        Image.new("L", (8, 8), number).save(path)
    (tmp_path / "train").mkdir()
    samples = Samples(tuple(pictures) * 1000, (0, 1) * 1000)
    index = write_shards(samples, ["0", "1"], tmp_path / "train", size=ShardSize(), seed=0)
    for number in range(1, 50):
        (tmp_path / "train" / f"{number}.tar").hardlink_to(tmp_path / "train" / index.shards[0].name)
    shards = [replace(index.shards[0], name=f"{number}.tar") for number in range(1, 50)]
    index = replace(index, shards=(*index.shards, *shards))
    (tmp_path / "train" / "index.json").write_bytes(index.to_json())
    (tmp_path / "val").symlink_to("train")
    command = [sys.executable, "-c", _EPOCH, str(tmp_path)]
    seen, growth = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert int(seen) == 100_000
    assert int(growth) < 8_000  # kB; the headers of the archives alone would take 100,000
