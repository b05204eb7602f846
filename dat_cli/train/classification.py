"""Image classification: the network, its loss and its scores as a LightningModule."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassStatScores

from dat_cli.catalog import Preprocessing, get_variant
from dat_cli.errors import DatError, UsageError
from dat_cli.models import create_model
from dat_cli.train.optim import OptimizerConfig, build_optimizer
from dat_cli.weights import WeightsConfig

Batch = tuple[Tensor, Tensor]


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
        grad_checkpointing: Compute activations twice to keep fewer of them in memory.
        optimizer: AdamW and its schedule.
        trained_on: Name of the data, kept with the weights.

    Raises:
        ModelError: There is no such architecture, or it cannot take such images.
        UsageError: A number is out of its range.
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
        grad_checkpointing: bool = False,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 - frozen
        trained_on: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("drop_path_rate", drop_path_rate), ("label_smoothing", label_smoothing)):
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"model.{name} is {value}, not a number from 0 to below 1")
        channels, height, width = preprocessing.input_size
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
        self.val_scores = _scores(len(classes), "val_")
        self.test_scores = _scores(len(classes), "test_")
        self.class_counts = MulticlassStatScores(len(classes), average=None)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class before softmax: (B, 3, H, W) to (B, number of classes)."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's signature
        """Smoothed cross entropy of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self(images).float(), labels, label_smoothing=self.label_smoothing)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], on_step=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop a run that has diverged: nothing after it can be of use.

        Raises:
            DatError: The loss is not a number.
        """
        loss = self.trainer.callback_metrics.get("train_loss")
        if loss is not None and not torch.isfinite(loss):
            raise DatError(
                f"the training loss is {loss.item()} in epoch {self.current_epoch + 1}",
                hint="lower --model.optimizer.lr, or train with --trainer.precision 32-true",
            )

    def on_validation_epoch_start(self) -> None:
        """Count from nothing: Lightning resets only metrics that are logged."""
        self.class_counts.reset()

    def on_test_epoch_start(self) -> None:
        """Count from nothing: Lightning resets only metrics that are logged."""
        self.class_counts.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Loss and scores of a batch."""
        self._measure(batch, self.val_scores, "val_loss")

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - Lightning's signature
        """Loss and scores of a batch."""
        self._measure(batch, self.test_scores, "test_loss")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with warm-up and cosine over the whole run.

        Raises:
            UsageError: The run has no end, so that no schedule fits it.
        """
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise UsageError("the learning rate needs an end to fall to", hint="give --trainer.max_epochs")
        batches = max(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches, 1)
        optimizer, schedule = build_optimizer(
            self.network, self.optimizer_config, steps=int(steps), epochs=steps / batches
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
        """Make the checkpoint self-contained, like a weights file."""
        checkpoint["dat"] = self.weights_config().to_dict()

    def _measure(self, batch: Batch, scores: MetricCollection, loss_name: str) -> None:
        images, labels = batch
        logits = self(images).float()
        scores.update(logits, labels)
        self.class_counts.update(logits, labels)
        loss = F.cross_entropy(logits, labels)
        self.log(loss_name, loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        self.log_dict(scores, on_step=False, on_epoch=True, batch_size=len(labels))


def _scores(classes: int, prefix: str) -> MetricCollection:
    return MetricCollection(
        {
            "acc1": MulticlassAccuracy(classes, average="micro"),
            "acc5": MulticlassAccuracy(classes, top_k=min(5, classes), average="micro"),
            "f1": MulticlassF1Score(classes, average="macro"),
        },
        prefix=prefix,
        compute_groups=False,  # after a first batch without mistakes, F1 and top-5 would be taken for one
    )
