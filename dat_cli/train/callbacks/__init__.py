"""What happens beside training: the folder of a run, its end, and the lines on its progress."""

from dat_cli.train.callbacks.finite import NotFinite
from dat_cli.train.callbacks.progress import ProgressBar, ProgressLines
from dat_cli.train.callbacks.report import Report
from dat_cli.train.callbacks.run_folder import RunFolder
from dat_cli.train.callbacks.step_seed import StepSeed
from dat_cli.train.callbacks.stop import Stop

__all__ = ["NotFinite", "ProgressBar", "ProgressLines", "Report", "RunFolder", "StepSeed", "Stop"]
