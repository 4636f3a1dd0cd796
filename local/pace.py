"""The local stack's time: the tick of every minute, and a clock whose sleepers wake when the stack
ends.

Used by `local/stack.py`. The clock handed over may run faster than the real one; minutes and sleeps
are its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

MINUTE = 60.0
LOG = logging.getLogger("local.pace")


class Clock(Protocol):
    """`speed` is how many of its seconds pass in a real one."""

    @property
    def speed(self) -> float: ...

    def now(self) -> datetime: ...


class Stopped(Exception):
    """The stack is being stopped: whoever sleeps is woken by this, as a process is by its end."""


class StoppableClock:
    """The stack's clock for handlers in this process, which may be in the middle of a turn when the
    stack ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = threading.Event()

    def now(self) -> datetime:
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds / self._clock.speed):
            raise Stopped("the stack is being stopped")

    def stop(self) -> None:
        self._stopping.set()


class Ticker:
    """Calls `tick` at every full minute of the clock, as Cloud Scheduler does. A tick that fails is
    lost; the next one comes."""

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
                LOG.warning("a tick was lost: %s", error)
