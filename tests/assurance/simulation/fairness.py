"""The fairness oracle: since when each model is due, and by how much its passes were late.

It sees committed documents alone. A model is due at the `requeue_at` that its last pass left, and
what follows from a failed pass changes that no more. A pass is over when it has observed.

    a pass leaves requeue_at     due      refused: requeue_at moves     observed
    |----------------------------|--------------------------------------|
                                 |--------------- late ---------------->|
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from infra.store.port import Create, Put, Replace, Write


class Fairness:
    def __init__(self) -> None:
        self._due: dict[str, datetime] = {}
        self._observed: dict[str, datetime] = {}
        self._latest: dict[str, timedelta] = {}
        self._began: datetime | None = None

    def on_commit(self, now: datetime, writes: Iterable[Write]) -> None:
        for write in writes:
            collection, _, model = write.path.rpartition("/")
            if collection == "models" and isinstance(write, Create | Put | Replace):
                self._see(model, dict(write.data), now)

    def _see(self, model: str, document: dict[str, object], now: datetime) -> None:
        rollout, requeue_at = document["rollout"], document["requeue_at"]
        assert isinstance(rollout, dict)
        observed = rollout["last_observed_at"]
        if observed and observed != self._observed.get(model):
            self._observed[model] = observed
            self._end(model, now)
        if not isinstance(requeue_at, datetime):
            self._end(model, now)
        elif document["lease"] is None:
            at = max(requeue_at, self._observed.get(model, requeue_at))
            self._due.setdefault(model, max(at, self._began or at))

    def _end(self, model: str, now: datetime) -> None:
        late = self.lateness(model, now)
        self._latest[model] = max(late, self._latest.get(model, late))
        self._due.pop(model, None)

    def lateness(self, model: str, now: datetime) -> timedelta:
        """By how much the pass that it waits for is late by now."""
        return max(now - self._due.get(model, now), timedelta(0))

    def latest(self, now: datetime) -> dict[str, timedelta]:
        """By how much the latest pass of each model was late, those to come included."""
        models = {*self._latest, *self._due}
        none = timedelta(0)
        return {m: max(self._latest.get(m, none), self.lateness(m, now)) for m in models}

    def begin(self, now: datetime) -> None:
        """What was late by now does not count; what is due is due from now on at the earliest, also
        by a pass that was under way.
        """
        self._began = now
        self._latest.clear()
        self._due = {model: max(at, now) for model, at in self._due.items()}
