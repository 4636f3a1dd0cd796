"""The local stack's time: the minute tick, and a clock whose sleepers wake when the stack stops.

Used by `local/stack.py`. The given clock may run faster than real time; minutes and sleeps are in
its time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

MINUTE = 60.0
LOG = logging.getLogger("local.pace")


class Clock(Protocol):
    """`speed` of its seconds pass in one real second."""

    @property
    def speed(self) -> float: ...

    def now(self) -> datetime: ...


class Stopped(Exception):
    """Raised in sleepers when the stack stops."""


class StoppableClock:
    """The clock of handlers in this process, which may be in the middle of a pass when the stack
    stops.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = threading.Event()

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds / self._clock.speed):
            raise Stopped("the stack is stopping")

    def stop(self) -> None:
        self._stopping.set()


class Ticker:
    """Calls `tick` at every full minute of the clock, like Cloud Scheduler. A failed tick is not
    repeated.
    """

    def __init__(self, clock: Clock, tick: Callable[[], object]) -> None:
        self._clock, self._tick = clock, tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(
            (MINUTE - self._clock.now().timestamp() % MINUTE) / self._clock.speed
        ):
            try:
                self._tick()
            except Exception as error:
                LOG.warning("tick failed: %s", error)
