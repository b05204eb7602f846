from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from dat_cli.catalog import Preprocessing
from dat_cli.data.batch import Batch
from dat_cli.data.module import ImageDataModule
from dat_cli.data.samples import Samples
from dat_cli.errors import DataError, UsageError

MakeFolder = Callable[[Path, Mapping[str, int]], Path]


class Linear(LightningModule):
    """The smallest network that trains, so that a real Trainer drives the data."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.LazyLinear(10)
        self.steps = 0

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.steps += 1
        images, labels = batch[:2]
        return nn.functional.cross_entropy(self.network(images.flatten(1)), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.network(batch[0].flatten(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, make_folder: MakeFolder) -> Path:
    """Two classes with ten images each."""
    return make_folder(tmp_path / "pictures", {"cat": 10, "dog": 10})


def paths_of(data: ImageDataModule, part: str) -> tuple[Path, ...]:
    samples = getattr(data.source, part)
    assert isinstance(samples, Samples)
    return samples.paths


def test_classes_and_preprocessing_are_known_before_any_setup(folder: Path) -> None:
    digits, photos = ImageDataModule(), ImageDataModule(str(folder))
    assert (digits.num_classes, digits.classes[9]) == (10, "9")
    assert digits.preprocessing.input_size == (3, 64, 64)
    assert photos.classes == ["cat", "dog"]
    assert photos.preprocessing == Preprocessing(crop_pct=0.9, crop_mode="center").at(128)


def test_the_size_is_the_given_one_then_the_weights_then_the_sources() -> None:
    weights = Preprocessing(mean=(0.1, 0.1, 0.1)).at(96)
    assert ImageDataModule(preprocessing=weights).preprocessing == weights
    assert ImageDataModule(preprocessing=weights, image_size=48).preprocessing == weights.at(48)
    assert ImageDataModule(image_size=48).preprocessing.input_size == (3, 48, 48)


def test_batches_are_images_labels_and_names() -> None:
    data = ImageDataModule(image_size=32, batch_size=7)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, labels, names = next(iter(loader))
        assert len(set(names)) == 7
        assert (images.shape, images.dtype) == ((7, 3, 32, 32), torch.float32)
        assert (labels.shape, labels.dtype) == ((7,), torch.int64)


def test_digits_become_inputs_of_mean_0_and_deviation_1() -> None:
    images = torch.cat([images for images, _, _ in ImageDataModule(image_size=32).val_dataloader()])
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.1


def test_validation_shows_every_image_once_in_order(folder: Path) -> None:
    data = ImageDataModule(str(folder), image_size=32, batch_size=3, val_fraction=0.5, num_workers=0)
    batches = list(data.val_dataloader())
    assert torch.cat([batch.labels for batch in batches]).tolist() == [0] * 5 + [1] * 5
    assert [name for batch in batches for name in batch.names] == [str(path) for path in paths_of(data, "val")]


def epoch_of(folder: Path, seed: int, workers: int) -> list[Batch]:
    data = ImageDataModule(str(folder), seed=seed, image_size=32, batch_size=4, num_workers=workers)
    return list(data.train_dataloader())


def test_training_batches_depend_on_the_seed_and_not_on_how_they_are_loaded(folder: Path) -> None:
    first, again, other = (epoch_of(folder, seed, workers) for seed, workers in ((3, 0), (3, 2), (4, 0)))
    assert [batch.names for batch in first] == [batch.names for batch in again] != [batch.names for batch in other]
    assert all(torch.equal(mine.images, theirs.images) for mine, theirs in zip(first, again, strict=True))


def test_each_epoch_shows_other_parts_of_the_pictures_in_another_order(folder: Path, trainer: Trainer) -> None:
    seen: list[list[str]] = []

    class Recorder(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
        ) -> None:
            del trainer, pl_module, outputs, batch_idx
            seen.append(batch.names)

    trainer.callbacks.append(Recorder())  # type: ignore[attr-defined]  # set by its connectors
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Linear(), ImageDataModule(str(folder), image_size=32, batch_size=16, num_workers=0))
    assert sorted(seen[0]) == sorted(seen[1])
    assert seen[0] != seen[1]


@pytest.mark.parametrize(("batch_size", "sizes"), [(7, [7, 7]), (16, [16]), (20, [16])])
def test_only_training_drops_a_last_small_batch_and_never_its_only_one(
    folder: Path, batch_size: int, sizes: list[int]
) -> None:
    data = ImageDataModule(str(folder), image_size=32, batch_size=batch_size, num_workers=0)
    assert [len(batch.labels) for batch in data.train_dataloader()] == sizes
    assert sum(len(batch.labels) for batch in data.val_dataloader()) == 4


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_damaged_image_stops_a_fit_before_the_first_step(folder: Path, trainer: Trainer, part: str) -> None:
    data = ImageDataModule(str(folder), image_size=32)
    path = paths_of(data, part)[1]
    path.write_bytes(path.read_bytes()[:-50])
    model = Linear()
    with pytest.raises(DataError, match="truncated") as caught:
        trainer.fit(model, data)
    assert str(path) in caught.value.message
    assert model.steps == 0


def test_damaged_images_are_left_out_on_request(folder: Path, trainer: Trainer) -> None:
    data = ImageDataModule(str(folder), image_size=32, damaged="skip", batch_size=1, num_workers=0)
    path = paths_of(data, "train")[0]
    path.write_bytes(b"")
    model = Linear()
    trainer.fit(model, data)
    assert model.steps == 15


def test_validation_checks_its_own_images_only(folder: Path, trainer: Trainer) -> None:
    data = ImageDataModule(str(folder), image_size=32, classes=["cat", "dog"], num_workers=0)
    paths_of(data, "train")[0].write_bytes(b"")
    trainer.validate(Linear(), data, verbose=False)
    again = ImageDataModule(str(folder), image_size=32, classes=["cat", "dog"], num_workers=0)
    paths_of(again, "val")[0].write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        trainer.validate(Linear(), again, verbose=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_while_training_is_named_in_one_line(folder: Path, workers: int) -> None:
    data = ImageDataModule(str(folder), image_size=32, num_workers=workers)
    data.setup("fit")
    path = paths_of(data, "train")[0]
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        list(data.train_dataloader())
    assert caught.value.message == f"cannot read {path}: the file is empty"


def test_workers_persist_and_memory_is_pinned_only_for_a_gpu(folder: Path) -> None:
    loader = ImageDataModule(str(folder), num_workers=2).train_dataloader()
    assert (loader.num_workers, loader.persistent_workers) == (2, True)
    assert loader.pin_memory == torch.cuda.is_available()
    assert ImageDataModule().train_dataloader().num_workers == 0


def test_a_checkpoint_keeps_how_a_stream_was_shared_among_workers(
    make_shards: Callable[[Path, Sequence[int]], list[Path]], trainer: Trainer, tmp_path: Path
) -> None:
    (shard,) = map(str, make_shards(tmp_path, [12]))
    run, again = (
        ImageDataModule(shard, image_size=32, batch_size=4, num_workers=workers, val_source=shard) for workers in (1, 0)
    )
    trainer.fit(Linear(), run)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Linear(), again, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert again.train_dataloader().num_workers == 1


def test_a_source_without_test_images_says_so(folder: Path) -> None:
    with pytest.raises(DataError, match="no images in test/"):
        ImageDataModule(str(folder)).test_dataloader()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image_size", 16),
        ("batch_size", 0),
        ("num_workers", -1),
        ("seed", -1),
        ("damaged", "ignore"),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.9, 0.3)),
        ("flip", 1.5),
        ("sampling", "rare"),
        ("crop_ratio", (2.0, 1.0)),
        ("color_jitter", -0.1),
        ("erasing", 2.0),
        ("flip", float("nan")),
    ],
)
def test_an_option_out_of_range_is_an_error_that_names_it(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"data.{option} is "):
        ImageDataModule(**{option: value})
