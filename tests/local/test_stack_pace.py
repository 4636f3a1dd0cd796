from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from local.pace import StoppableClock, Stopped, Ticker


class FastClock:
    speed = 600.0  # a minute in a tenth of a second

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() * self.speed % 1e9, UTC)


def test_the_ticker_continues_after_a_failed_tick_until_it_is_stopped() -> None:
    clock, ticks, third = FastClock(), list[datetime](), threading.Event()

    def tick() -> None:
        ticks.append(clock.now())
        if len(ticks) == 3:
            third.set()
        raise OSError("the bus is unavailable")

    ticker = Ticker(clock, tick)
    ticker.start()
    assert third.wait(20)
    ticker.stop()
    count = len(ticks)
    time.sleep(0.2)
    assert len(ticks) == count


def test_stopping_the_stack_wakes_sleepers() -> None:
    clock = StoppableClock(FastClock())
    clock.sleep(1)
    threading.Timer(0.05, clock.stop).start()
    with pytest.raises(Stopped):
        clock.sleep(600 * 60)
