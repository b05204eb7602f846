"""A network made ready to be timed: built, compiled, warmed up, its memory measured; or why it cannot be."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from dat_cli.benchmark.flops import flops_of_image
from dat_cli.benchmark.memory import call_bytes
from dat_cli.benchmark.results import Conditions, Measurement, Spread
from dat_cli.benchmark.rounds import Clock, enough_calls
from dat_cli.benchmark.subjects import Subject
from dat_cli.benchmark.work import Work
from dat_cli.data.walk import printable
from dat_cli.train.memory import free_memory

log = logging.getLogger("dat.benchmark")

_LONGEST = 200  # characters of an error of others


@dataclass
class Prepared:
    """A network that is ready, or has an error.

    Attributes:
        subject: Which.
        conditions: Of its cell.
        clock: Of its device.
        call: What is timed; None with an error.
        calls: How many are timed together.
        compile_s: Seconds of the first one; None in eager form.
        call_bytes: Peak of one.
        kept_bytes: What stays between them.
        times: Seconds of a call in each round.
        error: Why it cannot be measured.
    """

    subject: Subject
    conditions: Conditions
    clock: Clock
    call: Callable[[], None] | None = None
    calls: int = 1
    compile_s: float | None = None
    call_bytes: int = 0
    kept_bytes: int = 0
    times: list[float] = field(default_factory=list)
    error: str | None = None

    def seconds(self) -> float:
        """Time it once; what goes wrong is its error, and there is no number from then on."""
        if self.call is None:
            return math.nan
        try:
            with self.subject.arithmetic():
                return self.clock.seconds(self.call, self.calls)
        except Exception as error:  # noqa: BLE001 - as in prepare
            self._fail(error)
        give_back(self.clock.device)  # outside of the handler: the traceback holds what filled the memory
        return math.nan

    def prepare(self, warmup: int) -> None:
        """Build the network and call it some times; what goes wrong is its error, and the others go on."""
        try:
            _make_ready(self, warmup, self.clock.device)
        except Exception as error:  # noqa: BLE001 - a network of others may raise anything
            self._fail(error)
        if self.error is not None:
            give_back(self.clock.device)

    def _fail(self, error: Exception) -> None:
        self.error, self.call = _in_words(error), None
        log.warning("%s, %s: %s", self.measurement().label, self.conditions, self.error)

    def measurement(self, rates: list[float] | None = None) -> Measurement:
        """What is known of it.

        Args:
            rates: Operations a second of the machine's matrix product in each round.
        """
        network, form = self.subject.network, self.subject.form
        if self.error is not None or not self.times:
            return Measurement(network, form, [], error=self.error)
        median = Spread.of(self.times).median
        batch = self.conditions.batch_size
        flops = flops_of_image(network, self.conditions.task, self.conditions.image_size)
        share = None
        if flops is not None and rates:
            shares = [flops * batch / seconds / rate for seconds, rate in zip(self.times, rates, strict=True)]
            share = Spread.of(shares).median
        return Measurement(
            network,
            form,
            self.times,
            calls=self.calls,
            images_per_s=batch / median,
            ms_per_image=1000 * median / batch,
            compile_s=self.compile_s,
            call_bytes=self.call_bytes,
            kept_bytes=self.kept_bytes,
            flops=None if flops is None else flops * batch,
            share=share,
        )


def prepare(subject: Subject, conditions: Conditions, warmup: int, device: torch.device) -> Prepared:
    """Make a network ready, or find out why it cannot be."""
    prepared = Prepared(subject, conditions, Clock(device))
    prepared.prepare(warmup)
    return prepared


def give_back(device: torch.device) -> None:
    """Free what is held no longer, before something else is built or goes on."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _make_ready(prepared: Prepared, warmup: int, device: torch.device) -> None:
    subject, conditions, clock = prepared.subject, prepared.conditions, prepared.clock
    network = subject.build(conditions.image_size).to(device)
    size = conditions.image_size
    images = torch.randn(conditions.batch_size, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    work = Work(network, conditions.task, images, conditions.precision)
    compiled = conditions.compile != "false" and not subject.eager
    with subject.arithmetic():
        if device.type == "cpu" and len(images) > 2:
            _require_memory(len(images) // 2 * call_bytes(work.forward_two, device))
        if compiled:
            mode = None if conditions.compile == "true" else conditions.compile
            network.compile(dynamic=False, mode=mode)
        if compiled:
            log.info("%s is compiled", subject.network)
        call = _graphed(work.call) if conditions.compile == "reduce-overhead" else work.call
        with _frozen(conditions, device):
            first = clock.seconds(call)
        prepared.compile_s = first if compiled else None
        usual = [clock.seconds(call) for _ in range(max(warmup, 1))]
        prepared.call_bytes = call_bytes(call, device)
    prepared.calls = enough_calls(min(usual))
    prepared.kept_bytes = work.kept_bytes()
    prepared.call = call


def _frozen(conditions: Conditions, device: torch.device) -> AbstractContextManager[object]:
    """What is compiled for inference on a CPU takes weights for constant, as what is not compiled does."""
    if conditions.compile == "false" or conditions.task != "inference" or device.type != "cpu":
        return nullcontext()
    from torch._inductor import config

    return config.patch(freezing=True)


def _graphed(call: Callable[[], None]) -> Callable[[], None]:
    """The call, told to be a step of its own: its results may overwrite those of the one before."""

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        call()

    return step


def _require_memory(needed: int) -> None:
    """A CPU does not say when its memory is full: the system would end the process, and all would be lost."""
    if needed > free_memory():
        raise MemoryError


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return "out of memory"
    return printable(f"{type(error).__name__}: {text}".removesuffix(": "))[:_LONGEST]
