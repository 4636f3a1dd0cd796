"""The clock as a parameter, so that a two-hour rollout can run in a second of virtual time.

`infra/wiring.py` makes the real and the scaled clock, tests make a virtual one. All waiting goes
through the clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...

    def sleep(self, seconds: float) -> None: ...
