"""Data sets of the Hub as a source, against the Hub of the tests."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

import pytest
import torch
from huggingface_hub import HfFileSystem
from PIL import Image
from torch.utils.data import DataLoader

from dat_cli.data.batch import PADDING
from dat_cli.data.samples import Source
from dat_cli.data.sources import open_source
from dat_cli.data.stream import Record, Stream, StreamOptions
from dat_cli.data.stream_batches import StreamBatches
from dat_cli.errors import DataError, HubError, UsageError

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

REPO = "tester/pictures"
SOURCE = f"hf://datasets/{REPO}"
FEATURES = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog", "emu"])}


class Hub(Protocol):
    url: str

    def use(self, **variables: str | None) -> None: ...
    def plant(self, repo: str, path: str, data: bytes, lfs: bool = False) -> str: ...
    def access(self, repo: str, **who: Any) -> None: ...
    def clear(self) -> None: ...
    def log(self) -> list[dict[str, Any]]: ...
    def fault(self, match: str, kind: str, times: int = 1, **options: Any) -> None: ...


def parquet(first: int, count: int, features: dict[str, Any] = FEATURES) -> bytes:
    """A file of so many pictures; picture n has the colour n, and the class n modulo 3."""
    rows: dict[str, list[Any]] = {name: [] for name in features}
    for number in range(first, first + count):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
        for name, feature in features.items():
            is_image = isinstance(feature, datasets.Image)
            rows[name].append({"bytes": file.getvalue(), "path": f"{number}.png"} if is_image else number % 3)
    table = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(table, batch_size=4)
    return table.getvalue()


@pytest.fixture(autouse=True)
def _datasets_of_the_test_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """``datasets`` reads the environment once, at its import; and the Hub's commits are those of the last test."""
    HfFileSystem.clear_instance_cache()
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 2)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_RETRY_INTERVAL", 0)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL", 0)


@pytest.fixture
def pictures(hub: Hub) -> Hub:
    """17 pictures to train on in two files, 7 to validate on."""
    hub.plant(REPO, "data/train-00000-of-00002.parquet", parquet(0, 10), lfs=True)
    hub.plant(REPO, "data/train-00001-of-00002.parquet", parquet(10, 7), lfs=True)
    hub.plant(REPO, "data/validation-00000-of-00001.parquet", parquet(20, 7), lfs=True)
    return hub


def opened(source: str = SOURCE, *, classes: Sequence[str] | None = None, **options: Any) -> Source:
    return open_source(source, classes=classes, options=StreamOptions(**options))


def records(part: Any) -> list[Record]:
    assert isinstance(part, Stream)
    return [record for shard, count in enumerate(part.counts) for _, record in part.read(shard, iter(range(count)))]


def colours(part: Any) -> list[int]:
    return [Image.open(io.BytesIO(record.image)).getpixel((0, 0))[0] for record in records(part)]  # type: ignore[index]


@pytest.mark.usefixtures("pictures")
def test_splits_columns_and_classes_are_found_and_pictures_streamed() -> None:
    source = opened()
    assert source.classes == ("cat", "dog", "emu")
    assert (len(source.train), len(source.val), source.test) == (17, 7, None)
    assert colours(source.train) == list(range(17))
    assert colours(source.val) == list(range(20, 27))
    assert [record.label for record in records(source.train)] == [number % 3 for number in range(17)]
    assert records(source.train)[12].name == f"{SOURCE} data/train-00001-of-00002.parquet:2"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_share_the_pictures(workers: int) -> None:
    part = opened().val
    assert isinstance(part, Stream)
    batches = StreamBatches(
        part,
        lambda image: torch.tensor([[[float(image.getpixel((0, 0))[0])]]]),  # type: ignore[index]
        batch_size=2,
        rank=0,
        world=1,
        workers=workers,
        seed=0,
        train=False,
    )
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    seen = [int(image) for batch in loader for image in batch.images[batch.labels != PADDING]]
    assert sorted(seen) == list(range(20, 27))


def test_no_more_than_the_ends_of_files_is_read_to_count_them(pictures: Hub) -> None:
    opened()
    pictures.clear()
    opened()
    sizes = [request["range"] for request in pictures.log() if "/_cdn/" in request["path"]]
    assert sizes
    assert None not in sizes


def test_a_revision_and_a_configuration_are_kept_to(hub: Hub) -> None:
    old = hub.plant(REPO, "small/train-0.parquet", parquet(0, 2))
    hub.plant(REPO, "large/train-0.parquet", parquet(0, 9))
    splits = {
        name: [{"split": split, "path": f"{name}/*"} for split in ("train", "val")] for name in ("small", "large")
    }
    card = {"configs": [{"config_name": name, "data_files": files} for name, files in splits.items()]}
    hub.plant(REPO, "README.md", f"---\n{json.dumps(card)}\n---\n".encode())
    assert len(opened(f"{SOURCE}:large").train) == 9
    assert len(opened(f"{SOURCE}@main:small").train) == 2
    assert len(opened(f"{SOURCE}@{old}", val_source="train").train) == 2
    with pytest.raises(DataError, match="name the configuration"):
        opened(f"{SOURCE}:huge")


def test_another_split_can_be_for_validation(hub: Hub) -> None:
    hub.plant(REPO, "data/train-0.parquet", parquet(0, 4))
    hub.plant(REPO, "data/test-0.parquet", parquet(0, 2))
    with pytest.raises(DataError, match=r"no split to validate on; there are .*; .*--data.val_source"):
        opened()
    assert (len(opened(val_source="test").val), len(opened(val_source="test").train)) == (2, 4)
    with pytest.raises(DataError, match=r"has no split tset; did you mean 'test'\?"):
        opened(val_source="tset")


def test_columns_are_chosen_where_there_are_several(hub: Hub) -> None:
    label = datasets.ClassLabel(names=["a", "b", "c"])
    features = {"front": datasets.Image(), "back": datasets.Image(), "kind": label, "mood": datasets.Value("int64")}
    for split in ("train", "val"):
        hub.plant(REPO, f"data/{split}-0.parquet", parquet(0, 4, features))
    with pytest.raises(DataError, match=r"has 2 columns of images; choose with --data.image_column: front, back"):
        opened()
    assert opened(image_column="back").classes == ("a", "b", "c")
    with pytest.raises(DataError, match=r"has no column bakc \(data.image_column\); did you mean 'back'\?"):
        opened(image_column="bakc")
    with pytest.raises(UsageError, match=r"has no names for its labels; pass them as --data.classes"):
        opened(image_column="back", label_column="mood")
    source = opened(image_column="back", label_column="mood", classes=["x", "y", "z"])
    assert [record.label for record in records(source.val)] == [0, 1, 2, 0]


@pytest.mark.usefixtures("pictures")
def test_classes_of_weights_are_found_by_name() -> None:
    source = opened(classes=["emu", "dog", "cat"])
    assert [record.label for record in records(source.val)] == [2 - number % 3 for number in range(20, 27)]
    with pytest.raises(DataError, match="has a class that the weights lack: dog"):
        opened(classes=["emu", "cat"])


def test_a_picture_that_is_only_a_path_is_not_opened(hub: Hub) -> None:
    schema = datasets.Features(FEATURES).arrow_schema
    rows = {"image": [{"bytes": None, "path": "/etc/passwd"}] * 2, "label": [0, 1]}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pydict(rows, schema=schema), file)
    for split in ("train", "val"):
        hub.plant(REPO, f"data/{split}-0.parquet", file.getvalue())
    with pytest.raises(DataError, match="holds no image, only where it was"):
        records(opened().train)


def test_files_that_are_not_parquet_are_refused_with_where_to_find_them_as_parquet(hub: Hub) -> None:
    hub.plant(REPO, "train/data.csv", b"image,label\nx,1\n")
    with pytest.raises(
        DataError, match=r"are csv, not parquet; try hf://datasets/tester/pictures@refs/convert/parquet"
    ):
        opened()


@pytest.mark.parametrize(
    "source", ["hf://tester/pictures", "hf://datasets/pictures", f"{SOURCE}@", f"{SOURCE}@a..b", f"{SOURCE}/../x"]
)
def test_what_names_no_data_set_is_refused_before_anything_is_asked(source: str, hub: Hub) -> None:
    with pytest.raises(UsageError, match="names no data set of the Hub"):
        opened(source)
    assert hub.log() == []


def test_a_missing_one_and_a_gated_one_are_one_line_each(pictures: Hub) -> None:
    with pytest.raises(HubError, match="there is no data set tester/nothing on the Hub, or it is private"):
        opened("hf://datasets/tester/nothing")
    with pytest.raises(HubError, match="tester/pictures has no revision 'nowhere'"):
        opened(f"{SOURCE}@nowhere")
    pictures.access(REPO, gated=True)
    pictures.use(HF_TOKEN="hf_other")
    with pytest.raises(HubError, match="tester/pictures is gated: its owner lets in who asks; log in with"):
        opened()


@pytest.mark.usefixtures("pictures")
def test_offline_and_out_of_reach_are_one_line_each(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # of the client, between attempts
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    hub.use(HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot read tester/pictures: the Hub cannot be reached"):
        opened()
    hub.use(HF_HUB_OFFLINE="1")
    with pytest.raises(HubError, match="requests are switched off by HF_HUB_OFFLINE; unset HF_HUB_OFFLINE"):
        opened()


def test_a_file_that_breaks_off_is_read_again_and_a_damaged_one_is_named(pictures: Hub) -> None:
    part = opened().train
    pictures.fault("GET /_cdn", "drop")
    assert colours(part) == list(range(17))
    pictures.plant(REPO, "data/train-00000-of-00002.parquet", b"PAR1 and nothing more", lfs=True)
    with pytest.raises(DataError, match="a file of tester/pictures is damaged"):
        opened()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"needs the package datasets; pip install dat-cli\[datasets\]"):
        opened()
