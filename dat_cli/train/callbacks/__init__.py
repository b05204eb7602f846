"""What happens beside training: the folder of a run and the lines on its progress."""

from dat_cli.train.callbacks.progress import ProgressBar, ProgressLines
from dat_cli.train.callbacks.run_folder import RunFolder
from dat_cli.train.callbacks.step_seed import StepSeed

__all__ = ["ProgressBar", "ProgressLines", "RunFolder", "StepSeed"]
