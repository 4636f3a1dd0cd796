"""What this process has learned of the project's quota of reads, for all passes that share it.

Used by `infra/compute/client.py`. Compute Engine counts the reads of a project anew each minute.
Once it has refused one, no call of this process reads before the next minute, and passes that could
not read come back one after the other, half as fast as passes could read in the minute of the
refusal, but one each minute at least; the other half is for those that go on. So each process finds
its share of the quota by itself, and the more passes wait, the longer they wait, up to
`LONGEST_WAIT`: what a process could read in one minute says little of the next ones.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

from infra.clock import Clock
from infra.compute.errors import RateLimited

MINUTE = timedelta(minutes=1)
SCARCE = timedelta(minutes=1)
"""So long after the minute of a refusal the quota is taken for scarce."""
LONGEST_WAIT = timedelta(minutes=5)
READS = frozenset(
    {
        "get",
        "get_from_family",
        "list",
        "aggregated_list",
        "list_managed_instances",
        "get_health",
    }
)


class ReadQuota:
    """Thread-safe. Tries are handed out from the minute after a refusal on."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, Lock()
        self._minute: datetime | None = None
        self._served = 0
        self._open_at: datetime | None = None
        self._places: dict[str, datetime] = {}
        self._last_place: datetime | None = None
        self._spacing = MINUTE

    def require_open(self) -> None:
        """Raises `RateLimited` if no read is worth a try yet."""
        with self._lock:
            seconds = self._seconds_closed()
        if seconds > 0:
            raise RateLimited(seconds, "the project's quota of reads is used up for this minute")

    def close(self, refusal: RateLimited) -> None:
        """Compute Engine refused a read."""
        with self._lock:
            self._begin_minute()
            now = self._clock.now()
            self._open_at = now + timedelta(seconds=refusal.after_seconds)
            self._spacing = min(MINUTE, 2 * MINUTE / max(1, self._served))

    @property
    def is_scarce(self) -> bool:
        """Whether Compute Engine has refused a read lately."""
        with self._lock:
            return self._open_at is not None and self._seconds_closed() > -SCARCE.total_seconds()

    def count(self) -> None:
        """A pass has read."""
        with self._lock:
            self._begin_minute()
            self._served += 1

    def next_try(self, model: str) -> float:
        """In how many seconds a pass that could not read should try again. A model has one place,
        however many of its wake-ups ask for it.
        """
        with self._lock:
            now = self._clock.now()
            earliest = now + timedelta(seconds=max(0.0, self._seconds_closed()))
            latest = earliest + LONGEST_WAIT
            self._places = {
                each: at for each, at in self._places.items() if earliest <= at <= latest
            }
            if model not in self._places:
                last = self._last_place
                after = last + self._spacing if last and last >= earliest else earliest
                # The next ones are between those that wait already.
                self._places[model] = self._last_place = after if after <= latest else earliest
            return (self._places[model] - now).total_seconds()

    def _begin_minute(self) -> None:
        minute = self._clock.now().replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._served = minute, 0

    def _seconds_closed(self) -> float:
        """Negative once reads are worth a try. Forgets a refusal that a clock has left behind."""
        left = self._open_at - self._clock.now() if self._open_at else -SCARCE
        if left > 2 * MINUTE:
            self._open_at, left = None, -SCARCE
        return left.total_seconds()
