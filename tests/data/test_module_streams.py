"""The data module over shards: what it passes on to them, and what a run that goes on takes from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import pytest

from dat_cli.data.batch import PADDING, Batch
from dat_cli.data.module import ImageDataModule
from dat_cli.data.order import Share
from dat_cli.errors import DataError, UsageError


class MakeShards(Protocol):
    def __call__(self, root: Path, counts: Sequence[int]) -> list[Path]: ...


@pytest.fixture
def shards(make_shards: MakeShards, tmp_path: Path) -> str:
    """45 pictures in five shards."""
    make_shards(tmp_path, (7, 8, 9, 10, 11))
    return f"{tmp_path}/{{000..004}}.tar"


def module(shards: str, share: Share | None = None, **options: Any) -> ImageDataModule:
    """One of a process, as a trainer of several would have it."""
    given: dict[str, Any] = {"image_size": 32, "batch_size": 4, "num_workers": 0, **options}
    data = ImageDataModule(shards, val_source=shards, **given)
    if share is not None:
        data._share = lambda: share  # type: ignore[method-assign]  # a trainer of several needs processes
    return data


def names(batches: Sequence[Batch]) -> list[str]:
    return list(chain.from_iterable(batch.names for batch in batches))


def test_two_processes_train_on_pictures_of_their_own_which_are_mixed(shards: str) -> None:
    loaders = [module(shards, Share(rank, 2)).train_dataloader() for rank in range(2)]
    one, other = (list(loader) for loader in loaders)
    assert [len(loader) for loader in loaders] == [len(one), len(other)] == [5, 5]
    seen = names(one) + names(other)
    assert len(set(seen)) == len(seen) == 40
    assert names(one) != sorted(names(one))


def test_two_processes_measure_each_picture_once_in_the_order_of_the_shards(shards: str) -> None:
    loaders = [module(shards, Share(rank, 2)).val_dataloader() for rank in range(2)]
    one, other = (list(loader) for loader in loaders)
    assert len(one) == len(other) == 6
    seen = [name for name in names(one) + names(other) if name]
    assert len(seen) == 45
    assert seen == sorted(set(seen))


def test_damaged_pictures_of_a_stream_are_left_out_on_request(make_shards: MakeShards, tmp_path: Path) -> None:
    (path,) = make_shards(tmp_path, [9])
    data = bytearray(path.read_bytes())
    start = data.index(b"000004.png") + 512
    data[start : start + 16] = bytes(16)
    path.write_bytes(data)
    batches = list(module(str(path), damaged="skip").val_dataloader())
    assert sum(int((batch.labels != PADDING).sum()) for batch in batches) == 8
    with pytest.raises(DataError, match=r"000\.tar/000004\.png"):
        list(module(str(path)).val_dataloader())


def test_a_stream_cannot_be_balanced(shards: str) -> None:
    with pytest.raises(UsageError, match=r"data.sampling is balanced; it must be uniform where images are streamed"):
        module(shards, sampling="balanced").train_dataloader()


@pytest.mark.parametrize("is_made_before", [False, True])
def test_a_run_that_goes_on_has_as_many_workers_as_before(shards: str, is_made_before: bool) -> None:
    run = module(shards, num_workers=2)
    whole = run.train_dataloader()
    state = run.state_dict()
    assert state == {"workers": 2, "processes": 1}
    again = module(shards, num_workers=0)
    again._position = lambda: (0, 5)  # type: ignore[method-assign]  # as a trainer says after a resume
    made = again.train_dataloader() if is_made_before else None
    again.load_state_dict(state)
    rest = made or again.train_dataloader()
    assert rest.num_workers == 2
    assert names(list(rest)) == names(list(whole))[20:]
    assert again.state_dict() == state


def test_what_a_stream_does_not_say_is_an_error_with_a_way_on(shards: str) -> None:
    data = module(shards.replace("{000..004}", "000"), samples=7, classes=["0", "1", "2"])
    with pytest.raises(DataError, match=r"does not say how many images each class has; leave out what needs it"):
        _ = data.class_counts
    assert module(shards, classes=["0", "1", "2"]).class_counts == [15, 15, 15]


def test_a_run_that_goes_on_with_other_processes_says_what_that_means(
    shards: str, caplog: pytest.LogCaptureFixture
) -> None:
    for rank in range(2):
        module(shards, Share(rank, 2)).load_state_dict({"workers": 0, "processes": 4})
    (line,) = caplog.messages
    assert "the run had 4 processes, now 2" in line
    caplog.clear()
    module(shards, Share(0, 2)).load_state_dict({"workers": 0, "processes": 2})
    assert not caplog.messages


def test_pictures_of_files_have_nothing_to_keep(
    make_folder: Callable[[Path, dict[str, int]], Path], tmp_path: Path
) -> None:
    data = ImageDataModule(str(make_folder(tmp_path, {"cat": 3, "dog": 3})), num_workers=0)
    data.train_dataloader()
    assert data.state_dict() == {}
