"""What a benchmark found, as plain data whose shape is stable: ``dataclasses.asdict`` of it is the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Task = Literal["inference", "training"]
Precision = Literal["32", "bf16", "16"]
Compile = Literal["false", "true", "reduce-overhead"]


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        device: ``cpu`` or ``cuda``.
        name: Of the processor or GPU; None where the system does not tell.
        system: Operating system and its version.
        cpus: CPUs that the process may use.
        threads: Threads that PyTorch computes with.
        versions: Of Python and of packages that a speed depends on, and of CUDA; None for what is not there.
    """

    device: str
    name: str | None
    system: str
    cpus: int
    threads: int
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the quartiles around it: half of all rounds lie between them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Conditions:
    """What all networks of one cell were measured at.

    Attributes:
        task: ``inference``, or ``training``: a whole step with its backward pass and AdamW.
        image_size: Height and width in pixels.
        batch_size: Images in a call.
        precision: ``32``; ``bf16`` and ``16`` by autocast.
        compile: ``false``, or by torch.compile: ``true``, its default, or ``reduce-overhead``, which uses CUDA graphs.
    """

    task: Task
    image_size: int
    batch_size: int
    precision: Precision
    compile: Compile

    def __str__(self) -> str:
        """As a line of talk."""
        way = {"false": "", "true": ", compiled"}.get(self.compile, f", compiled ({self.compile})")
        precision = {"32": "float32", "16": "float16"}.get(self.precision, self.precision)
        return f"{self.task}, {self.image_size} pixels, batch size {self.batch_size}, {precision}{way}"


@dataclass(frozen=True)
class Measurement:
    """One network at the conditions of a cell.

    Attributes:
        network: Name of a variant, or ``timm:`` and a name of timm's.
        form: ``fast`` is what everybody runs, ``reference`` the plain arithmetic, ``eager`` not compiled in a cell
            whose networks are; ``timm`` for those of timm.
        seconds: Of one call in each round; empty where there is an error.
        calls: How many calls were timed together in a round, and divided.
        images_per_s: By the median of the rounds.
        ms_per_image: The same the other way round; at batch size 1 the latency.
        compile_s: Seconds of the first call, in which it was compiled; None in eager form.
        call_bytes: Peak of what tensors hold in the middle of a call, beyond what they held before it.
        kept_bytes: What they hold before it: parameters, buffers, what inference keeps of constant weights, and in
            training the optimizer's moments. What is compiled with constant weights holds more, which is not counted.
        flops: Floating-point operations of a call: two for each multiply-accumulate of the plain form, in training
            three times as many. None where PyTorch cannot count them.
        share: Median over the rounds of flops a second over those of the machine's matrix product in the same round.
        error: Why it could not be measured.
    """

    network: str
    form: Literal["fast", "reference", "eager", "timm"]
    seconds: list[float]
    calls: int | None = None
    images_per_s: float | None = None
    ms_per_image: float | None = None
    compile_s: float | None = None
    call_bytes: int | None = None
    kept_bytes: int | None = None
    flops: int | None = None
    share: float | None = None
    error: str | None = None

    @property
    def label(self) -> str:
        """The network, and how it ran where that is not as usual."""
        return f"{self.network} ({self.form})" if self.form in ("reference", "eager") else self.network

    @property
    def peak_bytes(self) -> int | None:
        """What it needs in all."""
        return None if self.call_bytes is None or self.kept_bytes is None else self.call_bytes + self.kept_bytes


@dataclass(frozen=True)
class Ratio:
    """How a network compares with another, round by round.

    Attributes:
        network: Label of the one.
        against: Label of the other.
        speed: Images per second of the one over those of the other; above 1 the one is faster.
        memory: Peak memory of the one over that of the other, parameters and moments included.
    """

    network: str
    against: str
    speed: Spread
    memory: float | None


@dataclass(frozen=True)
class Cell:
    """All networks at the same conditions, measured in turns.

    Attributes:
        conditions: Which.
        matmul_size: Rows and columns of the matrix product that was measured with them.
        matmul_flops_per_s: Its rate in each round.
        measurements: What was measured.
        ratios: How they compare.
    """

    conditions: Conditions
    matmul_size: int | None
    matmul_flops_per_s: list[float]
    measurements: list[Measurement]
    ratios: list[Ratio]
