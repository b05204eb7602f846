"""Faults that a test orders of the test Hub."""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass, field

KINDS = {
    "status": "answer `status` with `headers`, and with `code` as X-Error-Code",
    "delay": "wait `seconds` first",
    "drop": "hang up after `after` bytes of the request's body (0), before any work is done",
    "lost": "do the work, send no answer",
    "truncate": "hang up after `after` bytes of the answer (half)",
    "throttle": "send `rate` bytes a second",
    "corrupt": "flip a bit of the answer's byte `at` (that in the middle)",
    "short": "leave out the answer's last `by` bytes, with an honest Content-Length",
}


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests in whose ``METHOD /path?query`` there is a ``match``."""

    match: str
    kind: str
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    message: str = "Injected fault"
    seconds: float = 0.0
    after: int | None = None
    rate: int = 1 << 20
    at: int | None = None
    by: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is no fault; there are {', '.join(KINDS)}")


NO_FAULT = Fault("", "delay", seconds=0.0)


class Faults:
    """The faults that are still to come, the oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def order(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def next(self, request: str) -> Fault:
        """The fault of this request, which is thereby used up once."""
        with self._lock:
            for fault in self._waiting:
                if fault.times > 0 and re.search(fault.match, request):
                    fault.times -= 1
                    return fault
        return NO_FAULT

    def listed(self) -> list[dict[str, object]]:
        with self._lock:
            return [asdict(fault) for fault in self._waiting]
