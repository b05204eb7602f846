"""What to lower when a training does not fit into the memory."""

from __future__ import annotations

from jsonargparse import Namespace

from dat_cli.errors import DatError


def training_needs_less(options: Namespace) -> DatError:
    """An error that says what this training could still do with less memory.

    Args:
        options: Of ``dat fit``.
    """
    batch, accumulated = options.data.batch_size, options.trainer.accumulate_grad_batches
    ways = []
    if batch > 1:
        ways.append(
            f"--data.batch_size {batch // 2} with --trainer.accumulate_grad_batches {accumulated * 2} (the same steps)"
        )
    if not options.model.grad_checkpointing:
        ways.append("--model.grad_checkpointing true")
    if str(options.trainer.precision) in ("32-true", "32"):
        ways.append("--trainer.precision bf16-mixed")
    ways.append("a smaller --data.image_size")
    return DatError("out of memory in training", hint=f"use {', or '.join(ways)}")
