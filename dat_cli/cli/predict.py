"""``dat predict``: Lightning's command line with images instead of a data module."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from lightning.pytorch.cli import LightningArgumentParser

from dat_cli.cli.images import ImageCLI
from dat_cli.cli.logs import is_first_process
from dat_cli.cli.predict_output import Results, can_wait, format_of, saying_how_on
from dat_cli.errors import DatError, UsageError
from dat_cli.run.batches import Crops, PredictionData
from dat_cli.run.copies import Copies
from dat_cli.run.copy_places import check_copies_folder
from dat_cli.run.load import load_model
from dat_cli.run.part import Part
from dat_cli.run.predict import Prediction
from dat_cli.run.records import Format
from dat_cli.run.resume import Remaining
from dat_cli.run.spool import Predictions

_DECISIVE = ("top_k", "threshold", "flip", "crops", "trainer.precision")  # options that change what is found


class Predict(ImageCLI):
    """``dat predict PATH... [--weights WEIGHTS]``."""

    command = "predict"
    usage = "dat predict PATH... [--weights WEIGHTS] [options]"

    def __init__(self, args: list[str]) -> None:
        with ExitStack() as self._held:  # what no other command may have until this one is done
            super().__init__(args)

    def add_own_arguments(self, parser: LightningArgumentParser) -> None:
        """What to say of the images, and where."""
        add = parser.add_argument
        add("--format", type=Format | None, help="How to write; table, or what the suffix of --output says.")
        add("--output", type=str | None, help="File to write to instead of the terminal.")
        add("--resume", type=bool, default=False, help="Go on where an interrupted run with this --output stopped.")
        add("--top_k", type=PositiveInt, default=5, help="Classes of each image, at most all.")
        add("--threshold", type=ClosedUnitInterval, default=0.0, help="Leave out classes that are less probable.")
        add("--flip", type=bool, default=False, help="Look at the mirror image too, and take the mean.")
        add("--crops", type=Crops, default=1, help="5: the mean over the four corners and the centre of the image.")
        add("--save_images", type=str | None, help="Folder for copies of the images with their top label drawn on.")

    def before_instantiate_classes(self) -> None:
        """Look at everything that can be wrong before anything is built."""
        options = self.options
        self.format = format_of(options.format, options.output)
        self.output = Path(options.output).expanduser() if options.output else None
        if options.resume and self.output is None:
            raise UsageError("--resume needs --output, the file of which a part is written")
        self.copies = Path(options.save_images).expanduser() if options.save_images else None
        if self.copies is not None:
            check_copies_folder(self.copies, options.images)
        super().before_instantiate_classes()
        if options.trainer.num_nodes > 1 and not options.output:
            raise UsageError("several machines need --output, a file in a folder that all of them see")
        self.part = self._part()

    def instantiate_classes(self) -> None:
        """Build the network and the images from the weights."""
        super().instantiate_classes()
        network, config = load_model(self.weights)
        options, part = self.options, self.part
        self.classes = config.classes
        self.model = Prediction(network, temperature=config.temperature or 1.0, flip=options.flip)
        self.datamodule = PredictionData(
            self.paths if part is None else Remaining(self.paths, lambda: part.done),
            config.preprocessing,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            crops=options.crops,
        )

    def predict(self, **_: Any) -> None:
        """Predict, write, and say how much failed.

        Raises:
            DatError: Some images could not be read; all others were written.
        """
        options = self.options
        results = Results(self.output, self.format, self.part, batch_size=options.batch_size)
        with results.sink(self.trainer) as sink:
            predictions = Predictions(sink, self.classes, top_k=options.top_k, threshold=options.threshold)
            copies: list[Copies] = []
            if self.copies is not None:
                copies.append(Copies(self.copies, self.classes, threshold=options.threshold))
            # Copies first, so that after an interruption no image has a record but no copy.
            self.trainer.callbacks.extend([*copies, predictions])  # type: ignore[attr-defined]  # set by one of its parts
            self.run("predict", model=self.model, datamodule=self.datamodule, return_predictions=False)
        if results.failed:
            raise DatError(f"{results.failed} of {results.written} images could not be read")
        if copies and copies[0].failed:
            raise DatError(f"{copies[0].failed} images have no copy")

    def _part(self) -> Part | None:
        """Where results stand until they are whole, with what an earlier run has left there."""
        if self.output is None or not can_wait(self.output):
            if self.options.resume:
                raise UsageError(f"--resume: {self.output} is no file, and has no part")
            return None
        decisive = {name.rpartition(".")[2]: self.options.get(name) for name in _DECISIVE}
        config = sha256(json.dumps(self.weights.config.to_dict(), sort_keys=True).encode()).hexdigest()
        copies = None if self.copies is None else os.path.realpath(self.copies)
        made_by = {"weights": self.weights.sha256, "configuration": config, "save_images": copies, **decisive}
        part = Part.beside(self.output, batch_size=self.options.batch_size, made_by=made_by)
        if is_first_process():
            self._held.enter_context(part.claimed(self.paths, resume=self.options.resume))
            self._held.enter_context(saying_how_on(part))
        return part
