"""Sources of the emulator's time: the wall clock, the wall clock sped up, or a clock that the
caller advances.

Calling a clock returns epoch seconds. `speed` is the number of its seconds per real second.
`VirtualClock` has speed 0: its time passes only through `advance`, so nothing may block on it.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What a `Cloud` needs of a clock."""

    @property
    def speed(self) -> float: ...

    def __call__(self) -> float: ...


class RealClock:
    """The wall clock."""

    speed = 1.0

    def now(self) -> float:
        return time.time()

    def __call__(self) -> float:
        return self.now()


class ScaledClock:
    """The wall clock `speed` times as fast, starting at `sim_epoch` (default: now). At speed 60 a
    minute passes in a second.
    """

    def __init__(
        self, speed: float, real_epoch: float | None = None, sim_epoch: float | None = None
    ) -> None:
        if speed <= 0:
            raise ValueError(
                f"speed must be above 0, not {speed}; to advance time manually, use VirtualClock"
            )
        self.speed = speed
        self._monotonic_epoch = time.monotonic() - (
            0.0 if real_epoch is None else time.time() - real_epoch
        )
        self._sim_epoch = time.time() if sim_epoch is None else sim_epoch

    def now(self) -> float:
        return self._sim_epoch + (time.monotonic() - self._monotonic_epoch) * self.speed

    def __call__(self) -> float:
        return self.now()


class VirtualClock:
    """Time that passes only through `advance`. Starts at 2026-01-01T00:00:00Z by default."""

    speed = 0.0

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> float:
        """Let time pass and return the new time. Due events run at the next request, or on
        `Cloud.advance`.
        """
        if seconds < 0:
            raise ValueError(f"cannot move time backwards: {seconds}")
        self._now += seconds
        return self._now


class PlainClock:
    """Any callable that returns epoch seconds, assumed to run at real speed."""

    speed = 1.0

    def __init__(self, now: object) -> None:
        if not callable(now):
            raise TypeError(f"a clock must be callable, not {now!r}")
        self._now = now

    def __call__(self) -> float:
        return float(self._now())
