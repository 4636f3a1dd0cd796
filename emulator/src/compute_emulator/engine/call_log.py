"""A log of the calls to the emulator: counts by method id, and the last calls one by one.

For benchmarks, and for tests that assert that nothing is written.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple


class LoggedCall(NamedTuple):
    """One request. `at` is cloud time in epoch seconds; `target` is the path after
    `projects/P/`.
    """

    at: float
    method: str
    http: str
    target: str
    status: int
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


class CallLog:
    """Counts since the start or the last `clear`, and the last `keep` calls."""

    def __init__(self, keep: int = 10_000) -> None:
        self.counts: Counter[str] = Counter()
        self.mutations = 0
        self.log: deque[LoggedCall] = deque(maxlen=keep)

    def record(self, call: LoggedCall, *, mutation: bool) -> None:
        self.counts[call.method] += 1
        self.mutations += mutation
        self.log.append(call)

    def clear(self) -> None:
        self.counts.clear()
        self.mutations = 0
        self.log.clear()
