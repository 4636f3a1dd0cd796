"""The event queue: what happens when, as the emulator's time passes.

`Cloud` derives from it. Events run in the order of (time, sequence number), each at its own time:
an hour that passes in one jump has the same result as an hour that passes second by second.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from compute_emulator.engine.clock import Clock, PlainClock

PACIFIC = timezone(timedelta(hours=-7))
"""Compute Engine writes times in Pacific time. Here it is daylight-saving time all year, so that
the order of the texts is the order of the times."""


class Timeline:
    """Time and pending events. Everything runs under `lock`; `changed` is notified after events
    have run.
    """

    def __init__(self, clock: Clock | Callable[[], float] = time.time) -> None:
        self.clock: Clock = clock if hasattr(clock, "speed") else PlainClock(clock)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._event_time: float | None = None

    def now(self) -> float:
        """Epoch seconds: the time of the running event, else of the clock."""
        return self.clock() if self._event_time is None else self._event_time

    def timestamp(self, when: float | None = None) -> str:
        """`when` (default: now) in the API's format: RFC 3339 with milliseconds and offset."""
        return datetime.fromtimestamp(self.now() if when is None else when, PACIFIC).isoformat(
            timespec="milliseconds"
        )

    def at(self, when: float, run: Callable[[], None]) -> None:
        """Schedule a call. A time in the past means now, after the events that are already due."""
        with self.lock:
            heapq.heappush(self._events, (max(when, self.now()), next(self._sequence), run))
            if self._event_time is None:
                self.changed.notify_all()

    def after(self, seconds: float, run: Callable[[], None]) -> None:
        self.at(self.now() + seconds, run)

    def next_event_at(self) -> float | None:
        return self._events[0][0] if self._events else None

    def advance(self) -> None:
        """Run every event that is due, including those that these events schedule within that
        time.
        """
        with self.lock:
            if self._event_time is not None:
                return
            until = self.clock()
            ran = False
            while self._events and self._events[0][0] <= until:
                when, _, run = heapq.heappop(self._events)
                self._event_time, ran = when, True
                try:
                    run()
                finally:
                    self._event_time = None
            if ran:
                self.changed.notify_all()
