from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dat_cli.benchmark.pipeline import measure_pipeline
from dat_cli.errors import DataError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with three pictures of 500 x 375 each, of which one is held out."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.effect_noise((500, 375), 60).convert("RGB").save(tmp_path / name / f"{number}.jpg")
    return tmp_path


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # a single core may be all there is
def test_each_number_of_workers_has_its_rate_over_whole_batches() -> None:
    rates = measure_pipeline("digits", image_size=32, batch_size=16, workers=[1, 0], seconds=0.05)
    assert [rate.workers for rate in rates] == [1, 0]
    for rate in rates:
        assert rate.batches >= 1
        assert rate.seconds >= 0.05
        assert rate.samples_per_s * rate.seconds == pytest.approx(16 * rate.batches)
        assert rate.first_batch_s > 0


def test_what_few_images_suit_is_measured_once() -> None:
    assert [rate.workers for rate in measure_pipeline("digits", image_size=32, batch_size=8, seconds=0.01)] == [0]


def test_a_source_smaller_than_a_batch_is_read_again_and_again(folder: Path) -> None:
    (rate,) = measure_pipeline(str(folder), image_size=32, batch_size=99, workers=[0], seconds=0.05, training=False)
    assert rate.batches > 1
    assert rate.samples_per_s * rate.seconds == pytest.approx(2 * rate.batches)


def test_a_damaged_image_is_named(folder: Path) -> None:
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"words")
    with pytest.raises(DataError, match=r"cannot read .*\.jpg: it is no image"):
        measure_pipeline(str(folder), image_size=32, batch_size=2, workers=[0], seconds=0.01)


def test_time_must_pass() -> None:
    with pytest.raises(UsageError, match="seconds is 0"):
        measure_pipeline("digits", image_size=32, batch_size=8, seconds=0)
