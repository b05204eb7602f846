"""The model card of a repository: made of what the weights say about themselves and nothing else."""

from dat_cli.hub.card.text import is_generated, render_card

__all__ = ["is_generated", "render_card"]
