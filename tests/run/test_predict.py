"""From paths to probabilities: the right ones, in order, in flat memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor, nn

from dat_cli.catalog import Preprocessing
from dat_cli.data.image import load_image
from dat_cli.data.transforms import eval_transform
from dat_cli.errors import DatError
from dat_cli.run.batches import Batch, File, PredictionData
from dat_cli.run.load import load_model
from dat_cli.run.predict import Prediction
from dat_cli.run.records import RecordWriter
from dat_cli.run.spool import Predictions

SMALL = Preprocessing(input_size=(3, 32, 32))
CLASSES = ("dark", "bright")


class Brightness(nn.Module):
    """A network small enough to count memory with: (B, 3, H, W) to (B, 2)."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack((-mean, mean), dim=1)


def run(
    paths: list[str],
    network: nn.Module,
    preprocessing: Preprocessing = SMALL,
    classes: tuple[str, ...] = CLASSES,
    *,
    batch_size: int = 4,
    workers: int = 0,
    stream: io.StringIO | None = None,
) -> str:
    stream = stream or io.StringIO()
    writer = RecordWriter(stream, "jsonl")
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Predictions(writer, classes, top_k=99)],
    )
    data = PredictionData(paths, preprocessing, batch_size=batch_size, num_workers=workers)
    trainer.predict(Prediction(network), datamodule=data, return_predictions=False)
    return stream.getvalue()


def save_image(path: Path, value: int, size: tuple[int, int] = (40, 30)) -> str:
    noise = np.random.default_rng(value).integers(0, 40, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise + np.uint8(value)).save(path)
    return str(path)


def test_probabilities_are_those_of_the_network_on_the_validation_transform(run_folder: Path, tmp_path: Path) -> None:
    network, config = load_model(run_folder)
    paths = [save_image(tmp_path / f"{value}.png", value, (50 + value, 40)) for value in (0, 100, 200)]
    transform = eval_transform(config.preprocessing)
    with torch.no_grad():
        expected = network(torch.stack([transform(load_image(path)) for path in paths])).softmax(1)
    said = run(paths, network, config.preprocessing, config.classes)
    for line, path, row in zip(said.splitlines(), paths, expected, strict=True):
        record = json.loads(line)
        assert record["path"] == path
        found = [guess["probability"] for guess in record["predictions"]]
        assert found == sorted(found, reverse=True)
        assert found == pytest.approx([row[guess["index"]].item() for guess in record["predictions"]], abs=2e-6)
        assert all(guess["label"] == config.classes[guess["index"]] for guess in record["predictions"])


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_kept_and_damaged_images_stay_in_their_place(tmp_path: Path, workers: int) -> None:
    paths = [save_image(tmp_path / f"{index:02}.png", 20 * index) for index in range(11)]
    for index in (0, 4, 5, 6, 7, 10):  # one batch of the three has no image at all
        Path(paths[index]).write_bytes(b"no image")
    records = [json.loads(line) for line in run(paths, Brightness(), workers=workers).splitlines()]
    assert [record["path"] for record in records] == paths
    assert [index for index, record in enumerate(records) if "error" in record] == [0, 4, 5, 6, 7, 10]
    assert records[1]["predictions"][0]["label"] == "dark"
    assert records[9]["predictions"][0]["label"] == "bright"


def test_records_are_written_before_the_last_image_is_read(tmp_path: Path) -> None:
    stream = io.StringIO()
    image = save_image(tmp_path / "a.png", 0)
    lines_when_read: list[int] = []

    class Paths(list[str]):
        def __iter__(self) -> Iterator[str]:
            for _ in range(40):
                lines_when_read.append(stream.getvalue().count("\n"))
                yield image

    run(Paths(), Brightness(), stream=stream)
    assert lines_when_read[-1] >= 20


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    image = save_image(tmp_path / "a.bmp", 0, (8, 8))

    class Null(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def peak(images: int) -> int:
        tracemalloc.start()
        run([image] * images, Brightness(), batch_size=16, stream=Null())
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(256)  # what is imported and cached on first use
    few, many = peak(64), peak(864)
    assert many - few < 800 * 250  # a record alone takes far more than 250 bytes


def test_an_output_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * float("nan")

    with pytest.raises(DatError, match="not finite"):
        run([save_image(tmp_path / "a.png", 0)], Broken())


class Corner(nn.Module):
    """A network that looks at one pixel only, the first: (B, 3, H, W) to (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return images[:, :2, 0, 0]


def views(images: int, crops: int) -> tuple[Batch, Tensor]:
    random = torch.randn(images, crops, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(random, [File(index, f"{index}.png") for index in range(images)]), random


def test_logits_are_divided_by_the_temperature() -> None:
    batch, images = views(2, 1)
    expected = (images[:, 0, :2, 0, 0] / 2.5).softmax(1)
    torch.testing.assert_close(Prediction(Corner(), temperature=2.5).predict_step(batch), expected)


def test_a_flip_is_the_mean_of_the_image_and_its_mirror_image() -> None:
    batch, images = views(2, 1)
    expected = (images[:, 0, :2, 0, 0].softmax(1) + images[:, 0, :2, 0, -1].softmax(1)) / 2
    torch.testing.assert_close(Prediction(Corner(), flip=True).predict_step(batch), expected)


def test_five_crops_and_their_mirror_images_are_ten_views_one_after_another() -> None:
    batch, images = views(3, 5)
    corners = torch.stack((images[..., :2, 0, 0], images[..., :2, 0, -1]))  # (2, B, crops, classes)
    network = Corner()
    found = Prediction(network, flip=True).predict_step(batch)
    torch.testing.assert_close(found, corners.softmax(-1).mean((0, 2)))
    assert network.batches == [3] * 10  # memory is that of one view


def test_crops_of_a_file_reach_the_network(tmp_path: Path) -> None:
    paths = [save_image(tmp_path / f"{value}.png", value) for value in (0, 200)]
    (batch,) = PredictionData(paths, SMALL, num_workers=0, crops=5).predict_dataloader()
    assert batch.images.shape == (2, 5, 3, 32, 32)
