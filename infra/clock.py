"""What time it is and how to wait, as a parameter. The one seam that lets a two-hour rollout run in
a second of virtual time.

`infra/wiring.py` makes the real and the scaled clock, tests make a virtual one. Whoever waits,
waits through the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware and in UTC."""
        ...

    def sleep(self, seconds: float) -> None: ...
