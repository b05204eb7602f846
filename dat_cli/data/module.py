"""The data module of classification: a source of pictures in, batches out."""

from __future__ import annotations

import logging
from collections import Counter
from functools import cached_property
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from dat_cli.catalog import Preprocessing
from dat_cli.data.augment import check_auto_augment
from dat_cli.data.batch import Batch, collate
from dat_cli.data.damage import leave_out_damaged
from dat_cli.data.dataset import ImageDataset
from dat_cli.data.loader import EpochLoader, Order
from dat_cli.data.machine import default_workers
from dat_cli.data.order import EvaluationOrder, Sampling, Share, TrainingOrder
from dat_cli.data.samples import Samples, Source
from dat_cli.data.sources import open_source
from dat_cli.data.stream import Stream, StreamOptions
from dat_cli.data.stream_batches import StreamBatches
from dat_cli.data.transforms import Transform, eval_transform, train_transform
from dat_cli.data.walk import printable
from dat_cli.errors import DataError, UsageError

Part = Literal["train", "val", "test"]

_log = logging.getLogger("dat.data")

_SMALLEST = 32  # pixels: what the networks halve five times
_LARGEST = 4096  # as for weights files: far beyond any use, far below what fills a machine


class ImageDataModule(LightningDataModule):
    """Labelled pictures of one source, decoded, transformed and batched.

    Batches are ``batch.Batch``. Before the first of them every file of the parts that a run uses is decoded once, see
    ``damage.leave_out_damaged``; what is streamed is not. Processes that work together divide the pictures among
    them, see ``order``.

    Args:
        source: ``digits``, which is built in; a folder with a subfolder of images for each class; shards, as
            ``train-{000..099}.tar``; or ``hf://datasets/owner/name``.
        image_size: Height and width that the network is given; by default what the weights or the source suggest.
        batch_size: Pictures in a batch.
        num_workers: Processes that load data; by default what suits the machine and the source, 0 for the digits.
        val_fraction: Part of each class that is held out for validation where the source has no such part.
        seed: Of that choice, of the order of training pictures and of their random crops.
        damaged: A damaged file is an ``error`` before the first step, or left out (``skip``) and named in the log.
        sampling: ``uniform`` takes each training picture once an epoch, ``balanced`` each class equally often.
        crop_scale: Smallest and largest part of a picture's area that a random crop takes; by default what suits
            the source.
        crop_ratio: Smallest and largest width of that part in relation to its height.
        flip: Probability of a mirrored picture in training; by default what suits the source.
        auto_augment: Random changes of colour and shape by timm's name of a policy, as rand-m9-mstd0.5-inc1.
        color_jitter: Strength of random brightness, contrast and saturation; timm leaves it out beside auto_augment.
        erasing: Probability that a random rectangle is filled with noise.
        val_source: Shards to validate on, where ``source`` names shards without an index.
        samples: Training pictures in shards that nothing counts, as those of a web server without an index.
        image_column: Column of the pictures of a data set of the Hub; by default the only one with pictures.
        label_column: Column of their classes; by default the only one with classes.
        classes: Names that labels are indices into, of weights that are measured; by default the source's own.
        preprocessing: How weights want their input; by default what suits the source.

    Raises:
        UsageError: An option is out of range.
    """

    def __init__(
        self,
        source: str = "digits",
        image_size: int | None = None,
        batch_size: int = 32,
        num_workers: int | None = None,
        val_fraction: float = 0.2,
        seed: int = 0,
        damaged: Literal["error", "skip"] = "error",
        sampling: Sampling = "uniform",
        crop_scale: tuple[float, float] | None = None,
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float | None = None,
        auto_augment: str | None = None,
        color_jitter: float = 0.0,
        erasing: float = 0.0,
        val_source: str | None = None,
        samples: int | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        classes: list[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__()
        _require(
            image_size is None or _SMALLEST <= image_size <= _LARGEST,
            "image_size",
            image_size,
            f"from {_SMALLEST} to {_LARGEST}",
        )
        _require(batch_size >= 1, "batch_size", batch_size, "at least 1")
        _require(num_workers is None or num_workers >= 0, "num_workers", num_workers, "at least 0")
        _require(0 <= seed < 2**32, "seed", seed, "from 0 to 4294967295")
        _require(damaged in ("error", "skip"), "damaged", damaged, "error or skip")
        _require(
            crop_scale is None or 0 < crop_scale[0] <= crop_scale[1] <= 1,
            "crop_scale",
            crop_scale,
            "two parts of the area, the smaller first, more than 0 and at most 1",
        )
        _require(samples is None or samples >= 1, "samples", samples, "at least 1")
        _require(sampling in ("uniform", "balanced"), "sampling", sampling, "uniform or balanced")
        _require(0 < crop_ratio[0] <= crop_ratio[1], "crop_ratio", crop_ratio, "two ratios above 0, the smaller first")
        _require(flip is None or 0 <= flip <= 1, "flip", flip, "from 0 to 1")
        _require(0 <= color_jitter < 10, "color_jitter", color_jitter, "from 0 to 10, such as 0.4")
        _require(0 <= erasing <= 1, "erasing", erasing, "from 0 to 1")
        check_auto_augment(auto_augment)
        self.source_name = source
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.val_fraction = val_fraction
        self.seed = seed
        self.damaged = damaged
        self.sampling: Sampling = sampling
        self.crop_scale = crop_scale
        self.crop_ratio = crop_ratio
        self.flip = flip
        self.auto_augment = auto_augment
        self.color_jitter = color_jitter
        self.erasing = erasing
        self._given_classes = classes
        self._given_preprocessing = preprocessing
        self._stream_options = StreamOptions(val_source, samples, image_column, label_column)
        self._checked: dict[str, Samples] = {}
        self._readers: dict[str, int] = {}  # of a streamed training: who divides an epoch among them
        self._train_stream: EpochLoader | None = None

    @cached_property
    def source(self) -> Source:
        """The source, opened when first asked for.

        Raises:
            DataError: It cannot be used.
        """
        return open_source(
            self.source_name,
            val_fraction=self.val_fraction,
            seed=self.seed,
            classes=self._given_classes,
            options=self._stream_options,
        )

    @property
    def classes(self) -> list[str]:
        """Names of the classes; labels are indices into them."""
        return list(self.source.classes)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.source.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training pictures of each class.

        Raises:
            DataError: A stream does not say how many.
        """
        part = self._part("train")
        if isinstance(part, Samples):
            counts = Counter(part.labels)
            return [counts[label] for label in range(self.num_classes)]
        if part.class_counts is None:
            raise DataError(
                f"{printable(part.name)} does not say how many images each class has",
                hint="leave out what needs it, as weights of classes, or add class_counts to the index.json of shards",
            )
        return list(part.class_counts)

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become inputs of the network."""
        chosen = self._given_preprocessing or self.source.preprocessing
        return chosen if self.image_size is None else chosen.at(self.image_size)

    def setup(self, stage: str) -> None:
        """Decode every file that the stage uses once.

        Args:
            stage: ``fit``, ``validate`` or ``test``.

        Raises:
            DataError: A file is damaged and ``damaged`` is ``error``, or too few are left.
        """
        used: dict[str, tuple[Part, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        parts = {name: self._part(name) for name in used.get(stage, ()) if name not in self._checked}
        pending: dict[str, Samples] = {name: part for name, part in parts.items() if isinstance(part, Samples)}
        self._checked |= leave_out_damaged(pending, self.classes, skip=self.damaged == "skip")

    def state_dict(self) -> dict[str, int]:
        """How many readers share a stream, on which depends which pictures are left of an epoch."""
        return dict(self._readers)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on with as many workers as the run had, or pictures of the epoch would come twice and others never."""
        self._readers = dict(state_dict)
        if self._train_stream is not None:  # sharded networks are made, with all loaders, before they are read
            self._train_stream = _with_workers(self._train_stream, state_dict["workers"])
        now = self._share()
        if now.world != state_dict["processes"] and now.rank == 0:
            _log.warning(
                "the run had %d processes, now %d: of a stream some images come twice and some not in this epoch",
                state_dict["processes"],
                now.world,
            )

    def train_dataloader(self) -> EpochLoader:
        """Random parts of the training pictures in an order that depends on the seed and the epoch alone."""
        transform = train_transform(
            self.preprocessing,
            crop_scale=self.crop_scale or self.source.crop_scale,
            crop_ratio=self.crop_ratio,
            flip=self.source.flip if self.flip is None else self.flip,
            auto_augment=self.auto_augment,
            color_jitter=self.color_jitter,
            erasing=self.erasing,
        )
        part = self._part("train")
        if isinstance(part, Stream):
            _require(self.sampling == "uniform", "sampling", self.sampling, "uniform where images are streamed")
            workers = self._readers.get("workers", self._workers(len(part)))
            self._readers = {"workers": workers, "processes": self._share().world}
            self._train_stream = self._stream_loader(part, transform, workers, train=True)
            return self._train_stream
        order = TrainingOrder(part.labels, self.batch_size, seed=self.seed, share=self._share(), sampling=self.sampling)
        return self._loader(part, transform, order)

    def val_dataloader(self) -> EpochLoader:
        """The validation pictures, each once."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> EpochLoader:
        """The test pictures, each once.

        Raises:
            DataError: The source has none.
        """
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: Part) -> EpochLoader:
        part, transform = self._part(name), eval_transform(self.preprocessing)
        if isinstance(part, Stream):
            return self._stream_loader(part, transform, self._workers(len(part)), train=False)
        return self._loader(part, transform, EvaluationOrder(len(part), self.batch_size, share=self._share()))

    def _part(self, name: Part) -> Samples | Stream:
        part: Samples | Stream | None = self._checked.get(name) or getattr(self.source, name)
        if not part:
            streams = isinstance(self.source.train, Stream) or isinstance(self.source.val, Stream)
            folder = f"add a folder {name}/ with a subfolder of images for each class"
            raise DataError(
                f"{printable(self.source.name)} has no images in {name}{'' if streams else '/'}",
                hint="its shards or its split are missing" if streams else folder,
            )
        return part

    def _loader(self, samples: Samples, transform: Transform, order: TrainingOrder | EvaluationOrder) -> EpochLoader:
        dataset = ImageDataset(samples, transform, self.preprocessing.input_size)
        workers = self._workers(len(samples.paths))
        return self._epoch_loader(dataset, order, workers, batch_sampler=order, collate_fn=collate)

    def _stream_loader(self, stream: Stream, transform: Transform, workers: int, *, train: bool) -> EpochLoader:
        share = self._share()
        batches = StreamBatches(
            stream,
            transform,
            batch_size=self.batch_size,
            rank=share.rank,
            world=share.world,
            workers=workers,
            seed=self.seed,
            train=train,
            skip_damaged=self.damaged == "skip",
        )
        return self._epoch_loader(batches, batches, workers, batch_size=None, collate_fn=_as_it_is)

    def _epoch_loader(self, dataset: object, order: Order, workers: int, **options: Any) -> EpochLoader:
        return EpochLoader(
            dataset,
            order=order,
            position=self._position,
            num_workers=workers,
            pin_memory=self._device() == "cuda",
            persistent_workers=workers > 0,
            **options,
        )

    def _share(self) -> Share:
        return Share(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Share()

    def _position(self) -> tuple[int, int]:
        """The epoch that training is in and how many of its batches are done, which is not 0 after a resume alone."""
        trainer = self.trainer
        if trainer is None or getattr(trainer, "overfit_batches", False):
            return 0, 0  # overfitting means the same pictures in each epoch
        return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def _device(self) -> str:
        if self.trainer:
            return self.trainer.strategy.root_device.type
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _workers(self, images: int) -> int:
        """Given, or what suits the machine and so many images to decode."""
        if self.num_workers is not None:
            return self.num_workers
        channels, height, width = self.preprocessing.input_size
        batch_bytes = self.batch_size * channels * height * width * 4
        processes = self.trainer.num_devices if self.trainer else 1
        return default_workers(images, batch_bytes, processes)


def _with_workers(loader: EpochLoader, workers: int) -> EpochLoader:
    """The loader itself, which has given nothing yet, with so many workers."""
    assert isinstance(loader.dataset, StreamBatches)  # noqa: S101 - for the type checker
    loader.num_workers, loader.dataset.workers = workers, max(workers, 1)
    loader.prefetch_factor = (loader.prefetch_factor or 2) if workers else None
    return loader


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _require(holds: bool, option: str, value: object, valid: str) -> None:
    if not holds:
        raise UsageError(f"data.{option} is {value}", hint=f"it must be {valid}")
