"""A scenario whose handlers run at the same time, as function instances do.

Each delivery runs in a greenlet of its own that yields where it sleeps, so virtual time passes for
all of them at once, and a run is the same each time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

from greenlet import getcurrent, greenlet

from compute_emulator import VirtualClock as CloudClock
from infra.bus.embedded import EmbeddedBus
from tests.scenario import Scenario, VirtualClock


class ConcurrentClock(VirtualClock):
    """A handler that sleeps lets the others run; the test's own sleep runs what is due."""

    bus: EmbeddedBus

    def __init__(self, cloud_clock: CloudClock) -> None:
        super().__init__(cloud_clock)
        self._main = getcurrent()
        self._numbers = itertools.count()
        self._sleepers: list[tuple[datetime, int, greenlet]] = []

    def sleep(self, seconds: float) -> None:
        end, present = self.now() + timedelta(seconds=seconds), getcurrent()
        if present is not self._main:
            heapq.heappush(self._sleepers, (end, next(self._numbers), present))
            self._main.switch()
            return
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, sleeper = heapq.heappop(self._sleepers)
            self._pass_until(at)
            sleeper.switch()
            self.bus.pump()
        self._pass_until(end)

    def _pass_until(self, at: datetime) -> None:
        """Time passes, with the messages that become due."""
        while (due := self.bus.next_due()) and self.now() < due < at:
            super().sleep((due - self.now()).total_seconds())
            self.bus.pump()
        super().sleep(max(0.0, (at - self.now()).total_seconds()))


class ConcurrentScenario(Scenario):
    clock_type = ConcurrentClock

    def __init__(self) -> None:
        super().__init__()
        assert isinstance(self.clock, ConcurrentClock)
        self.clock.bus = self.bus
        self.run_handler = _start


def _start(handle: Callable[[], None]) -> None:
    greenlet(handle).switch()
