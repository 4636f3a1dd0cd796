"""The scheduler within one process, on the embedded bus. For machines without Cloud Tasks; never
deployed.
"""

from __future__ import annotations

from datetime import datetime

from infra.bus.embedded import EmbeddedBus
from infra.store import outbox


class Timer:
    def __init__(self, bus: EmbeddedBus) -> None:
        self._bus = bus

    def schedule(self, model: str, number: int, at: datetime) -> None:
        self._bus.publish_at(outbox.WAKEUPS, outbox.wakeup(model, number), at)
