"""Journeys under real requests, whose metrics have real times: the stable release comes about in
virtual time, and then Slipway has the real one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from compute_emulator import DataPlane, Key
from compute_emulator import VirtualClock as CloudClock
from tests.scenario import Scenario, VirtualClock

CLOUD_SPEED = 20.0
RULE = Key("global", "forwardingRules", "slipway-gateway-http")


class LiveClock(VirtualClock):
    """Virtual, but the real time from `go_live` until a condition holds; in real time Compute
    Engine is twenty times as fast.
    """

    is_live = False
    _offset = timedelta()

    def go_live(self, until: Callable[[], bool]) -> None:
        self.is_live, self._is_over = True, until

    def now(self) -> datetime:
        return datetime.now(UTC) if self.is_live else super().now() + self._offset

    def sleep(self, seconds: float) -> None:
        if self.is_live and self._is_over():
            self._offset = datetime.now(UTC) - super().now()
            self.is_live = False
        if self.is_live:
            time.sleep(seconds)
        super().sleep(seconds * CLOUD_SPEED if self.is_live else seconds)


class LiveScenario(Scenario):
    """Begins a day ago."""

    clock_type = LiveClock
    clock: LiveClock

    def __init__(self) -> None:
        super().__init__(CloudClock(time.time() - 86400))


class Load:
    """Requests at a steady rate, by the emulator's load generator; its report is there when the
    block has ended.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate

    @contextmanager
    def sent(self, url: str) -> Iterator[None]:
        module = "compute_emulator.traffic.load_generator"
        command = [sys.executable, "-m", module, url, "--seconds", "300", "--rate", str(self._rate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
            try:
                yield
            finally:
                program.terminate()
                self._report = json.loads(program.communicate()[0])

    @property
    def requests(self) -> int:
        return int(self._report["requests"])

    @property
    def failed(self) -> int:
        """Those with any other answer than 200, or none."""
        return self.requests - int(self._report["statuses"]["200"])


def model_url(plane: DataPlane) -> str:
    plane.refresh()
    return f"{plane.url_of(RULE)}/tiny"
