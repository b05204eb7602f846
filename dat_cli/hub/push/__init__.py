"""Weights of this machine into a repository."""

from dat_cli.hub.push.send import Pushed, push

__all__ = ["Pushed", "push"]
