"""How fast a training goes and how long it will take, however often it was stopped before."""

from __future__ import annotations

import math
import time

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer


class Pace:
    """Counts pictures and time; the time of validations counts for the time left, not for pictures per second."""

    def __init__(self) -> None:
        self._images = 0
        self._first_step = 0
        self._run_start = self._start = self._paused_at = self._paused = 0.0

    def start(self, trainer: Trainer) -> None:
        """Training begins, or goes on where it was stopped."""
        self._run_start, self._first_step = time.monotonic(), trainer.global_step
        self.restart()

    def restart(self) -> None:
        """Count pictures from nothing."""
        self._images, self._paused, self._start = 0, 0.0, time.monotonic()

    def pause(self) -> None:
        """A validation begins."""
        self._paused_at = time.monotonic()

    def go_on(self) -> None:
        """It is over."""
        self._paused += time.monotonic() - self._paused_at

    def count(self, images: int) -> None:
        """So many pictures more, of all processes together."""
        self._images += images

    @property
    def elapsed(self) -> float:
        """Seconds since training began."""
        return time.monotonic() - self._run_start

    @property
    def images_per_second(self) -> float:
        """Since the count began."""
        return self._images / max(time.monotonic() - self._start - self._paused, 1e-9)

    def left(self, trainer: Trainer) -> str:
        """Time until the end in words, validations included; a training that may stop early takes at most that."""
        done = trainer.global_step - self._first_step
        seconds = math.inf
        if done > 0:
            seconds = self.elapsed / done * (trainer.estimated_stepping_batches - trainer.global_step)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector, which mypy cannot see
            if isinstance(callback, Timer) and (allowed := callback.time_remaining()) is not None:
                seconds = min(seconds, allowed)
        if not math.isfinite(seconds):
            return "unknown time left"
        early = seconds > 0 and any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks)  # type: ignore[attr-defined]  # as above
        return f"{'at most ' if early else ''}{duration(max(seconds, 0.0))} left"


def duration(seconds: float) -> str:
    """Seconds as people say it: ``40 s``, ``2 min 05 s``, ``3 h 20 min``, ``4 d 06 h``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
