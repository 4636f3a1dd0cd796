"""Pub/Sub's back-off, which its emulator does not have: it comes again after a second or three, however often it was turned away.

A message that was not acknowledged may come again only after its back-off, which doubles with each failure; whoever comes before
is sent away. Source: Pub/Sub, RetryPolicy; how long is what `deploy/bootstrap.sh` asks for. Pure.
"""

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
    """By message. Times are real seconds on any clock; `speed` is how much faster the stack's own time runs."""

    speed: float
    waits: list[float] = field(default_factory=list)  # what each repeat waited at least, in the stack's seconds
    _failures: Counter[str] = field(default_factory=Counter)
    _due: dict[str, float] = field(default_factory=dict)

    def is_early(self, message: str, now: float) -> bool:
        return now < self._due.get(message, now)

    def failed(self, topic: str, message: str, now: float) -> None:
        self._failures[message] += 1
        wait = backoff_seconds(topic, self._failures[message])
        self.waits.append(wait)
        self._due[message] = now + wait / self.speed
