"""What suits the machine, where the user did not say."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]


def default_precision(accelerator: object = "auto") -> Precision:
    """Mixed precision on NVIDIA GPUs, in bfloat16 where they have it; full precision elsewhere.

    Args:
        accelerator: Lightning's name of it, or ``auto``.
    """
    if accelerator not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return "32-true"
    # Emulated bfloat16 counts as supported in PyTorch and is slower than float16.
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
