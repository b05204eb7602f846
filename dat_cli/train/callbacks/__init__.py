"""What happens beside training: the folder of a run and the lines on its progress."""

from dat_cli.train.callbacks.epoch_seed import EpochSeed
from dat_cli.train.callbacks.progress import ProgressBar, ProgressLines
from dat_cli.train.callbacks.run_folder import RunFolder

__all__ = ["EpochSeed", "ProgressBar", "ProgressLines", "RunFolder"]
