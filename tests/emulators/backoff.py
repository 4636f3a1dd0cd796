"""Pub/Sub's back-off: a message that was not acknowledged comes again after a time that doubles
with each failure.

The emulator has none: it comes again after a second or a few, and when the machine was busy it was
seen never to bring a message again that had been refused twice. So the proxy brings again what
failed. Source: Pub/Sub, RetryPolicy; how long is what `deploy/bootstrap.sh` asks for. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FIRST_SECONDS = 10.0
LONGEST_SECONDS = {"model-releases": 600.0, "model-wakeups": 60.0}


def backoff_seconds(topic: str, failures: int) -> float:
    """10, 20, 40 ... up to the longest of the topic's subscription."""
    return min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_SECONDS.get(topic, 600.0))


@dataclass
class Backoffs:
    """By message. `speed` is how much faster than the real one the stack's own time runs."""

    speed: float
    waiting_for: list[float] = field(
        default_factory=list
    )  # what each repeat waited, in the stack's seconds
    _failures: Counter[str] = field(default_factory=Counter)

    def after_failure(self, topic: str, message: str) -> float:
        """Real seconds until the message may come again."""
        self._failures[message] += 1
        self.waiting_for.append(backoff_seconds(topic, self._failures[message]))
        return self.waiting_for[-1] / self.speed
