"""The port for sending notifications.

Implemented by `infra/notifications/https.py`; called by `handlers/status.py`. Invariants: an
implementation answers within `TIMEOUT_SECONDS`, raises nothing because of what a receiver does, and
shows no secret in an answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from rollout.deferred import dataclass
from rollout.notifications.model import Notification
from rollout.notifications.settings import Destination

TIMEOUT_SECONDS = 8.0


@dataclass(frozen=True)
class Sent:
    """The receiver has it. `thread`: what a later notification of the same thread has to name."""

    thread: str = ""


@dataclass(frozen=True)
class NotSent:
    """The receiver may not have it. `retry_after_seconds`: how long it asks to be left alone.
    `is_final`: it wants no notification any more.
    """

    why: str
    retry_after_seconds: int = 0
    is_final: bool = False


class Notifier(Protocol):
    def send(
        self, destination: Destination, notification: Notification, thread: str, now: datetime
    ) -> Sent | NotSent:
        """`thread`: that of an earlier notification of the same thread, or empty."""
        ...
