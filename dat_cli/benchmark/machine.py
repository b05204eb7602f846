"""The machine: what it is, and how many operations a second its own matrix product reaches."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from dat_cli.benchmark.results import Machine
from dat_cli.benchmark.rounds import Clock, enough_calls
from dat_cli.data.machine import usable_cpus
from dat_cli.data.walk import printable
from dat_cli.ops.linear import linear

_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
_PATIENCE = 1.0  # seconds of one product; some CPUs multiply bfloat16 numbers one by one
_PACKAGES = ("dat-cli", "torch", "triton", "timm")
_CPU_FACTS = Path("/proc/cpuinfo")


def describe_machine(device: torch.device) -> Machine:
    """What a speed depends on; no name of the machine or its user is in it."""
    return Machine(
        device=device.type,
        name=torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpus=usable_cpus(),
        threads=torch.get_num_threads(),
        versions={
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
            "cuda": torch.version.cuda if device.type == "cuda" else None,
        },
    )


class MatrixProduct:
    """The product of two square matrices, at the size at which it is quickest, by PyTorch's library or by ours.

    Args:
        device: Where.
        dtype: Of the numbers.

    Attributes:
        size: Rows and columns.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._clock = Clock(device)
        best = 0.0
        self.size = 0
        ours = device.type == "cpu" and dtype == torch.float32  # others are PyTorch's as well
        for multiply in (_by_torch, _by_ours) if ours else (_by_torch,):
            for size in _SIZES[device.type]:
                left, right = (torch.rand(size, size, device=device).sub_(0.5).to(dtype) for _ in range(2))
                call = partial(multiply, left, right, torch.empty_like(left))
                seconds = self._seconds(call, 1)
                seconds = min(seconds, self._seconds(call, enough_calls(seconds)))
                if 2 * size**3 / seconds > best:
                    best, self.size, self._call = 2 * size**3 / seconds, size, call
                if seconds > _PATIENCE / 8:  # the next one takes eight times as long
                    break
        self._calls = enough_calls(2 * self.size**3 / best)

    def rate(self) -> float:
        """Floating-point operations a second, two for each multiply-accumulate."""
        return 2 * self.size**3 / self._seconds(self._call, self._calls)

    def _seconds(self, call: Callable[[], object], calls: int) -> float:
        with torch.inference_mode():
            return self._clock.seconds(call, calls)


def _by_torch(left: Tensor, right: Tensor, product: Tensor) -> None:
    torch.mm(left, right, out=product)


def _by_ours(left: Tensor, right: Tensor, _product: Tensor) -> None:
    linear(left, right, None)


def _cpu_name() -> str | None:
    with suppress(OSError):
        if found := re.search(
            r"^model name\s*:\s*(.+)$", _CPU_FACTS.read_text(encoding="utf-8", errors="replace"), re.M
        ):
            return printable(found[1])[:100]
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
