"""``dat embed``: images to vectors, for search and clustering."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.images import ImageCLI
from dat_cli.errors import DatError, UsageError
from dat_cli.run.batches import PredictionData
from dat_cli.run.embed import Embedding, Embeddings
from dat_cli.run.load import load_model
from dat_cli.run.vectors import Write, check_vector_file, vector_file


class _Trainer(Trainer):
    """A trainer with a method of the command's name, without which LightningCLI knows no such command."""

    def embed(self) -> None:
        """Turn pictures into vectors, for search and clustering."""


class Embed(ImageCLI):
    """``dat embed PATH... --output FILE [--weights WEIGHTS]``."""

    command = "embed"
    usage = "dat embed PATH... --output FILE.npy|FILE.parquet [--weights WEIGHTS] [options]"
    trainer_kind = _Trainer

    def add_own_arguments(self, parser: LightningArgumentParser) -> None:
        """Where the vectors go, and how."""
        add = parser.add_argument
        add("--output", type=str | None, help="NAME.npy, with the paths in NAME.csv, or NAME.parquet with both.")
        add("--normalize", type=bool, default=False, help="Make each vector as long as 1.")

    def before_instantiate_classes(self) -> None:
        """Look at everything that can be wrong before anything is built."""
        options = self.options
        if not options.output:
            raise UsageError("no file to write vectors to", hint="give --output NAME.npy or --output NAME.parquet")
        self.place = Path(options.output).expanduser()
        check_vector_file(self.place)
        super().before_instantiate_classes()

    def instantiate_classes(self) -> None:
        """Build the network and the images from the weights."""
        super().instantiate_classes()
        options = self.options
        self.network, config = load_model(self.weights)
        self.model = Embedding(self.network, normalize=options.normalize)
        self.datamodule = PredictionData(
            self.paths, config.preprocessing, batch_size=options.batch_size, num_workers=options.num_workers
        )

    def embed(self, **_: Any) -> None:
        """Embed, write, and say how much failed.

        Raises:
            DatError: Some images could not be read; the vectors of all others were written.
        """
        with self._vectors() as write:
            embeddings = Embeddings(write, self.network.num_features, spool_in=self.place.parent)
            self.trainer.callbacks.append(embeddings)  # type: ignore[attr-defined]  # set by one of its parts
            self.run("predict", model=self.model, datamodule=self.datamodule, return_predictions=False)
        if embeddings.failed:
            raise DatError(f"{embeddings.failed} of {embeddings.images} images could not be read")

    def _vectors(self) -> AbstractContextManager[Write]:
        if not self.trainer.is_global_zero:
            return nullcontext(lambda paths, vectors: None)  # noqa: ARG005 - the first process writes
        facts = {
            "weights": self.weights.name,
            "sha256": self.weights.sha256,
            "architecture": self.weights.config.architecture,
            "normalized": str(self.options.normalize).lower(),
        }
        return vector_file(self.place, self.network.num_features, facts)
