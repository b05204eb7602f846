"""Image classification: the network, its loss and its scores as a LightningModule."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from dat_cli.catalog import Preprocessing, get_variant
from dat_cli.data.batch import PADDING, Batch
from dat_cli.data.walk import printable
from dat_cli.errors import UsageError
from dat_cli.models import create_model
from dat_cli.report.findings import Findings
from dat_cli.train.balance import class_weights as inverse_frequencies
from dat_cli.train.findings import FindingsCollector
from dat_cli.train.freeze import Frozen
from dat_cli.train.freeze import freeze as freeze_part
from dat_cli.train.mixing import Mixing, MixingConfig
from dat_cli.train.optim import OptimizerConfig, build_optimizer
from dat_cli.train.sharding import shard
from dat_cli.weights import WeightsConfig


class Classification(LightningModule):
    """One label for each image.

    Logs ``train_loss`` (smoothed) and ``lr`` while training, and ``val_loss`` (plain cross entropy), ``val_acc1``,
    ``val_acc5`` and ``val_f1`` (macro) of each validation; ``test_*`` likewise. Scores are fractions.

    Args:
        classes: Names of the classes, by index.
        preprocessing: How pictures become inputs; kept with the weights.
        arch: Architecture; ``dat models`` lists them.
        img_size: Height and width in pixels that tables of position bias are made for; null: those of the images.
        window: Size of attention windows, or kernel of neighbourhood attention; null: that of the architecture.
        drop_path_rate: Stochastic depth of the last block; null: that of the published recipe.
        label_smoothing: Share of the target that is spread over all classes in training.
        mixing: Mixup and CutMix of the images of a batch.
        class_weights: ``balanced`` lets rare classes weigh as much in the loss as frequent ones.
        freeze: What does not learn: the ``backbone``, or the stem and so many first stages; null: everything learns.
        grad_checkpointing: Compute activations twice to keep fewer of them in memory.
        channels_last: Keep maps in memory with channels last, which some GPUs prefer.
        compile: Compile the network by torch.compile; the first steps take minutes, the others less time.
        optimizer: AdamW and its schedule.
        trained_on: Name of the data, kept with the weights.

    Raises:
        ModelError: There is no such architecture, or it cannot take such images.
        UsageError: A number is out of its range, or there is only one class.
        WeightsError: A weights file could not say this about itself, such as the name of a class.
    """

    def __init__(
        self,
        classes: list[str],
        preprocessing: Preprocessing,
        arch: str = "dat_tiny",
        img_size: int | None = None,
        window: int | None = None,
        drop_path_rate: float | None = None,
        label_smoothing: float = 0.1,
        mixing: MixingConfig = MixingConfig(),  # noqa: B008 - frozen
        class_weights: Literal["balanced"] | None = None,
        freeze: Frozen = None,
        grad_checkpointing: bool = False,
        channels_last: bool = False,
        compile: bool = False,  # noqa: A002 - torch's name of it
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        trained_on: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("drop_path_rate", drop_path_rate), ("label_smoothing", label_smoothing)):
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"model.{name} is {value}, not a number from 0 to below 1")
        channels, height, width = preprocessing.input_size
        if len(classes) < 2:
            only = ", ".join(map(printable, classes)) or "none"
            raise UsageError(f"the classes are: {only}", hint="a classifier needs at least two")
        self.arch = arch
        self.classes = tuple(classes)
        self.preprocessing = preprocessing
        self.img_size = max(height, width) if img_size is None else img_size
        self.window = window
        self.label_smoothing = label_smoothing
        self.optimizer_config = optimizer
        self.trained_on = trained_on
        self.weights_config()  # what no weights file may say, such as a class named by a line break, is an error now
        self.network = create_model(
            arch,
            num_classes=len(classes),
            in_chans=channels,
            img_size=self.img_size,
            window=window,
            drop_path_rate=get_variant(arch).drop_path_rate if drop_path_rate is None else drop_path_rate,
        )
        self.network.set_grad_checkpointing(grad_checkpointing)
        freeze_part(self.network, freeze)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self.memory_format)
        self.mixing = Mixing(mixing, len(classes), label_smoothing) if mixing.mixes else None
        self._compiles = compile
        self._balances = class_weights == "balanced"
        self._class_weights: Tensor | None = None
        self.train_loss = MeanMetric()
        self.val_scores = _scores(len(classes), "val_")
        self.test_scores = _scores(len(classes), "test_")
        self.val_findings = FindingsCollector(classes, "val")
        self.test_findings = FindingsCollector(classes, "test")
        self.findings: Findings | None = None  # of the last measurement

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class before softmax: (B, 3, H, W) to (B, number of classes)."""
        logits: Tensor = self.network(images.contiguous(memory_format=self.memory_format))
        return logits

    def configure_model(self) -> None:
        """Divide the network among the devices, where the strategy does."""
        if self.device_mesh is not None:
            shard(self.network, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Learn how frequent classes are, and compile."""
        if self._balances:
            counts = self.trainer.datamodule.class_counts  # type: ignore[attr-defined]  # that of the images
            self._class_weights = inverse_frequencies(counts).to(self.device)
        self._compile()

    def on_validation_start(self) -> None:
        """Compile."""
        self._compile()

    def on_test_start(self) -> None:
        """Compile."""
        self._compile()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Cross entropy of a batch, with mixed images and smoothed targets."""
        images, labels, _ = batch
        targets, smoothing = labels, self.label_smoothing
        if self.mixing is not None:
            images, targets = self.mixing(images, labels)
            smoothing = 0.0  # it is in the targets
        losses = F.cross_entropy(
            self(images).float(), targets, weight=self._class_weights, label_smoothing=smoothing, reduction="none"
        )
        # Over images: PyTorch's own mean is over the weights in the batch, which are others in each process.
        loss = losses.mean()
        self.train_loss.update(loss.detach(), len(labels))
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("lr", max(group["lr"] for group in self.trainer.optimizers[0].param_groups), on_step=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin with no findings: Lightning resets only metrics that are logged."""
        self.val_findings.reset()

    def on_test_epoch_start(self) -> None:
        """Begin with no findings: Lightning resets only metrics that are logged."""
        self.test_findings.reset()

    def on_validation_epoch_end(self) -> None:
        """Say what was found."""
        self.findings = self.val_findings.compute(_numbers(self.val_scores))

    def on_test_epoch_end(self) -> None:
        """Say what was found."""
        self.findings = self.test_findings.compute(_numbers(self.test_scores))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Loss, scores and mistakes of a batch, whose logits callbacks are given."""
        return self._measure(batch, self.val_scores, self.val_findings)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Loss, scores and mistakes of a batch."""
        self._measure(batch, self.test_scores, self.test_findings)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine over the whole run.

        Raises:
            UsageError: The run has no end, so that no schedule fits it.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise UsageError("the learning rate needs an end to fall to", hint="give --trainer.max_epochs")
        batches = max(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches, 1)
        trainer = self.trainer
        optimizer, schedule = build_optimizer(
            self.network,
            self.optimizer_config,
            steps=int(steps),
            epochs=steps / batches,
            total_batch=trainer.datamodule.batch_size * trainer.accumulate_grad_batches * trainer.world_size,  # type: ignore[attr-defined]  # that of the images
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def weights_config(self, metrics: dict[str, float] | None = None) -> WeightsConfig:
        """What a file with these weights says about itself."""
        channels = self.preprocessing.input_size[0]
        window = None if self.window == get_variant(self.arch).window else self.window
        unusual = {"window": window, "in_chans": None if channels == 3 else channels}
        return WeightsConfig(
            architecture=self.arch,
            classes=self.classes,
            preprocessing=self.preprocessing,
            model_args={
                "img_size": self.img_size,
                **{name: value for name, value in unusual.items() if value is not None},
            },
            metrics=metrics or {},
            trained_on=self.trained_on,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained, like a weights file, and keep the mean loss of an unfinished epoch."""
        checkpoint["dat"] = self.weights_config().to_dict()
        if not self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            with self.train_loss.sync_context():
                checkpoint["train_loss"] = {name: float(getattr(self.train_loss, name)) for name in _MEAN}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the mean loss, which is that of all processes: one of them alone takes it."""
        if self.trainer.is_global_zero:
            for name, value in checkpoint.get("train_loss", {}).items():
                getattr(self.train_loss, name).fill_(value)

    def _measure(self, batch: Batch, scores: MetricCollection, findings: FindingsCollector) -> Tensor:
        logits = self(batch.images).float()
        findings.update(batch.images, logits, batch.labels, batch.names, self.preprocessing)
        real = batch.labels != PADDING
        if real.any():
            scores.update(logits[real], batch.labels[real])
        self.log_dict(scores, on_step=False, on_epoch=True)
        return logits

    def _compile(self) -> None:
        """Once, in place: the names of tensors stay."""
        if self._compiles:
            self._compiles = False
            self.network.compile()


_MEAN = ("mean_value", "weight")  # states of a MeanMetric


class _CrossEntropy(MeanMetric):
    """Mean over pictures of the plain cross entropy, whatever share of them each process has."""

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]  # of a batch, not of its mean
        super().update(F.cross_entropy(logits, labels, reduction="none"))


def _numbers(scores: MetricCollection) -> dict[str, float]:
    return {name: value.item() for name, value in scores.compute().items()}


def _scores(classes: int, prefix: str) -> MetricCollection:
    scores: dict[str, Metric | MetricCollection] = {
        "loss": _CrossEntropy(),
        "acc1": MulticlassAccuracy(classes, average="micro"),
        "acc5": MulticlassAccuracy(classes, top_k=min(5, classes), average="micro"),
        "f1": MulticlassF1Score(classes, average="macro"),
    }
    # Without groups: after a first batch without mistakes, F1 and top-5 would be taken for one.
    return MetricCollection(scores, prefix=prefix, compute_groups=False)
