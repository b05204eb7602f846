"""Weights of a repository onto this machine."""

from dat_cli.hub.pull.fetch import Pulled, PulledFile, pull, pull_cached

__all__ = ["Pulled", "PulledFile", "pull", "pull_cached"]
