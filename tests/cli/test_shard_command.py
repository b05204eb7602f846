"""``dat shard``: a folder of images as shards, whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import signal
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dat_cli.cli.main import main
from dat_cli.data import shard_writer

CLASSES = ("bird", "cat", "Dog")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three classes, ten JPEGs or PNGs of each, no two alike."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "photos" / name / "more").mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            file = f"{name}/more/{number}.JPG" if number % 2 else f"{name}/{number}.png"
            Image.fromarray(pixels).save(tmp_path / "photos" / file)
    return tmp_path / "photos"


def contents(folder: Path) -> Counter[tuple[str, bytes]]:
    """Class and bytes of each image of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return Counter((path.relative_to(folder).parts[0], path.read_bytes()) for path in files)


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_webdataset_reads_the_same_images_and_labels(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import webdataset  # type: ignore[import-untyped]  # it has none

    out = tmp_path / "shards"
    assert main(["shard", str(photos), str(out), "--samples", "7"]) == 0
    assert capfd.readouterr().out == f"{out}\n"
    indices = [json.loads((out / part / "index.json").read_text()) for part in ("train", "val")]
    assert [sum(shard["samples"] for shard in index["shards"]) for index in indices] == [24, 6]
    assert indices[0]["class_counts"] == [8, 8, 8]
    classes = indices[0]["classes"]
    assert classes == sorted(CLASSES)
    paths = sorted(map(str, out.rglob("*.tar")))
    found: Counter[tuple[str, bytes]] = Counter()
    for sample in webdataset.WebDataset(paths, shardshuffle=False):
        (image,) = (content for ending, content in sample.items() if ending in ("jpg", "png"))
        found[classes[int(sample["cls"])], image] += 1
    assert found == contents(photos)
    assert len({name.partition("-")[0] for path in out.rglob("*.tar") for name in [path.name]}) == 2


def test_a_network_is_trained_on_them(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    assert main(["shard", str(photos), str(out)]) == 0
    command = [
        "fit",
        "--config",
        "tiny",
        "--data.source",
        str(out),
        "--data.image_size",
        "32",
        "--data.batch_size",
        "4",
    ]
    few = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    assert main([*command, *few, "--output_dir", str(tmp_path / "runs")]) == 0
    run = Path(capfd.readouterr().out.splitlines()[-1])
    assert main(["validate", "--weights", str(run), "--data.source", str(out), "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["images"] == 6


def test_shards_are_mixed_of_bounded_size_and_the_same_again(photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["shard", str(photos), str(tmp_path / name), "--size", "0.03"]) == 0
    assert main(["shard", str(photos), str(tmp_path / "other"), "--size", "0.03", "--seed", "1"]) == 0
    one, two, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.tar")} for name in ("one", "two", "other")
    )
    assert one == two
    assert one != other
    assert len(one) > 3
    assert max(map(len, one.values())) <= 30_000 + 10_240  # an archive is filled up to a multiple of that
    labels = [content for name, content in members(tmp_path / "one/train/train-000000.tar").items() if ".cls" in name]
    assert len(set(labels)) > 1


def test_parts_of_a_folder_stay_apart(photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "parted"
    root.mkdir()
    photos.rename(root / "train")
    for part, name in (("val", "cat"), ("test", "bird")):
        (root / part / name).mkdir(parents=True)
        (root / "train" / name / "0.png").rename(root / part / name / "0.png")
    assert main(["shard", str(root), str(tmp_path / "shards")]) == 0
    index = {
        part: json.loads((tmp_path / "shards" / part / "index.json").read_text()) for part in ("train", "val", "test")
    }
    assert {part: found["class_counts"] for part, found in index.items()} == {
        "train": [10, 9, 9],
        "val": [0, 0, 1],
        "test": [0, 1, 0],
    }


def test_damaged_images_are_refused_or_left_out(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "cat" / "0.png").write_bytes(b"no image")
    assert main(["shard", str(photos), str(tmp_path / "shards")]) == 2
    assert "leave it out with --damaged skip" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert main(["shard", str(photos), str(tmp_path / "shards"), "--damaged", "skip"]) == 0
    counts = [json.loads(path.read_text())["class_counts"] for path in (tmp_path / "shards").glob("*/index.json")]
    assert sum(map(sum, counts)) == 29


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos", "there"], "'there' is there already; give a new folder"),
        (["photos", "photos/shards"], "lies in the folder of the images"),
        (["photos", "new", "--size", "0"], "--size is 0; it must be from 0.001"),
        (["photos", "new", "--samples", "0"], "--samples is 0; it must be at least 1"),
        (["photos", "new", "--samples", "5", "--size", "5"], "both given"),
        (["photos", "new", "--val_fraction", "2"], "val_fraction is 2.0"),
        (["photos", "new", "--samples", "many"], "--samples: invalid int value"),
        (["digits", "new"], "the built-in digits are no files"),
        (["fotos", "new"], "not found: fotos; did you mean 'photos'?"),
        (["photos"], "OUT"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    arguments: list[str], said: str, photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    (photos.parent / "there").mkdir()
    (photos.parent / "there" / "mine.txt").write_text("mine")
    assert main(["shard", *arguments]) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos", "there"]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_one_leaves_nothing(
    kind: signal.Signals, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> bytes:
        os.kill(os.getpid(), kind)
        return path.read_bytes()

    monkeypatch.setattr(shard_writer, "_content", read)
    assert main(["shard", str(photos), str(tmp_path / "shards")]) == 128 + kind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_what_a_killed_one_left_is_in_nobodys_way(photos: Path, tmp_path: Path) -> None:
    (tmp_path / f".shards.{os.getpid()}.tmp").mkdir()
    assert main(["shard", str(photos), str(tmp_path / "shards")]) == 0
    assert (tmp_path / "shards").stat().st_mode == photos.stat().st_mode  # not its owner's alone


def test_a_place_that_takes_no_more_is_an_error_that_names_it(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert main(["shard", str(photos), str(tmp_path / "shards")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"File too large: {tmp_path}/shards" in capfd.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
