"""Weights files and what they say about themselves, and the one place that opens a pickle."""

from dat_cli.weights.config import WeightsConfig
from dat_cli.weights.files import write_weights
from dat_cli.weights.load import load_tensors
from dat_cli.weights.pickles import open_checkpoint
from dat_cli.weights.read import read_config, read_tensors

__all__ = ["WeightsConfig", "load_tensors", "open_checkpoint", "read_config", "read_tensors", "write_weights"]
