"""The port for waking a model at a given time.

Handlers use `Scheduler` alone; `infra/schedule/cloud_tasks.py` and `infra/schedule/timer.py`
implement it, and neither is imported here. It is no guarantee: the tick of every minute finds the
models whose wake-up was lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from infra.errors import Unavailable

__all__ = ["NoScheduler", "Scheduler", "Unavailable"]


class Scheduler(Protocol):
    def schedule(self, model: str, number: int, at: datetime) -> None:
        """Publish a wake-up with this number at this time. A repeat for the same number changes
        nothing. Raises `Unavailable` if it is not known whether that will happen.
        """
        ...


class NoScheduler:
    """Leaves every wake-up to the tick."""

    def schedule(self, model: str, number: int, at: datetime) -> None:
        """Nothing: the tick finds the model."""
