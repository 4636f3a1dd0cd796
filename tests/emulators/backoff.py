"""Pub/Sub's backoff: an unacknowledged message is redelivered after a delay that doubles with each
failure. Pure.

The emulator has no backoff: it redelivers after a few seconds, and on a busy machine it sometimes
never redelivers a message that failed twice. So the proxy redelivers. The limits are those of
`deploy/bootstrap.sh`. Source: Pub/Sub, RetryPolicy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FIRST_SECONDS = 10.0
LONGEST_SECONDS = {"model-releases": 600.0, "model-wakeups": 60.0}


def backoff_seconds(topic: str, failures: int) -> float:
    """10, 20, 40 ... up to the maximum of the topic's subscription."""
    return min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_SECONDS.get(topic, 600.0))


@dataclass
class Backoffs:
    """Backoff by message. The stack's time runs `speed` times as fast as real time. `waiting_for`
    lists how long each redelivery waited, in the stack's seconds.
    """

    speed: float
    waiting_for: list[float] = field(default_factory=list)
    _failures: Counter[str] = field(default_factory=Counter)

    def after_failure(self, topic: str, message: str) -> float:
        """Real seconds until the message may come again."""
        self._failures[message] += 1
        self.waiting_for.append(backoff_seconds(topic, self._failures[message]))
        return self.waiting_for[-1] / self.speed
