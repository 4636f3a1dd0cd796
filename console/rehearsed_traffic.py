"""The requests of a rehearsal: a steady number a second, shared as route and instances share them.

Answers what gates, `min_requests` and the sizing of a candidate ask a source of metrics or an
evaluation job. Called by the handlers in `console/rehearsal.py`, through the ports.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.metrics.port import Names, SeriesFound
from rollout.measurements import (
    Answer,
    Counts,
    ExternalVerdict,
    GateQuery,
    LatencySource,
    Measured,
    Unmeasured,
    ValueSource,
    VerdictAnswer,
    VerdictRequest,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from rollout.spec.gates import Gate

BAD_SHARE = 0.01
TIMES_AS_BAD = 10
"""The candidate's bad requests, if its gates are to fail."""


@dataclass(frozen=True)
class Shares:
    """From `since` on: the part of the requests by template, and by backend service."""

    since: datetime
    by_template: Mapping[str, float]
    by_service: Mapping[str, float]


class RehearsedTraffic:
    """Both a source of metrics and an evaluation job. `stable`: the template that gets all
    requests before the first sample.
    """

    def __init__(
        self, requests_per_second: float, stable: str, gates: Mapping[str, Gate], *, is_bad: bool
    ) -> None:
        self._rate, self._stable, self._gates = requests_per_second, stable, gates
        self._is_bad = is_bad
        self._shares: list[Shares] = []

    def record(self, shares: Shares) -> None:
        last = self._shares[-1] if self._shares else None
        present = (shares.by_template, shares.by_service)
        if last is None or (last.by_template, last.by_service) != present:
            self._shares.append(shares)

    # ---- As a source of metrics

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        return Unmeasured("no-series", "a rehearsal answers no query in PromQL")

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        parts = self._parts(since, until)
        found: dict[str, Answer] = {}
        for service in services:
            seconds = sum(part * each.by_service.get(service, 0.0) for each, part in parts)
            found[service] = Measured(self._rate * seconds, since, until)
        return found

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        span = timedelta(seconds=query.window_seconds)
        found, start = [], query.since
        while start + span <= query.until:
            end = start + span
            found.append(
                WindowMeasured(
                    start,
                    end,
                    self._value(query.gate)
                    if isinstance(query.source, ValueSource)
                    else self._counts(query, candidate, start, end),
                    self._counts(query, baseline, start, end) if baseline else None,
                )
            )
            start = end
        return Windows(tuple(found), f"rehearsed: {self._rate:g} requests/s")

    # ---- As an evaluation job

    def ask(self, request: VerdictRequest, hosts: tuple[str, ...], now: datetime) -> VerdictAnswer:
        return ExternalVerdict("fail" if self._is_bad else "pass", "rehearsed", request.until)

    # ---- The numbers

    def _counts(self, query: GateQuery, names: Names, start: datetime, end: datetime) -> Counts:
        parts = self._parts(start, end)
        total = self._rate * sum(s * each.by_template.get(names.template, 0.0) for each, s in parts)
        is_worse = self._is_bad and names.template != self._stable
        bad = total * BAD_SHARE * (TIMES_AS_BAD if is_worse else 1)
        if not isinstance(query.source, LatencySource):
            return Counts(bad, total)
        edge = query.source.slower_than_seconds
        return Counts(bad, total, ((edge, total - bad), (math.inf, total)))

    def _value(self, gate: str) -> float:
        """At the gate's limit, which it may have; beyond it if it is to fail."""
        limits = self._gates.get(gate)
        highest, lowest = (limits.max, limits.min) if limits else (None, None)
        if highest is not None:
            return highest + abs(highest) + 1 if self._is_bad else highest
        if lowest is not None:
            return lowest - abs(lowest) - 1 if self._is_bad else lowest
        return 0.0

    def _parts(self, since: datetime, until: datetime) -> list[tuple[Shares, float]]:
        """The shares in that time, and for how many seconds each."""
        before = Shares(datetime.min.replace(tzinfo=since.tzinfo), {self._stable: 1.0}, {})
        shares = [before, *self._shares]
        ends = [each.since for each in self._shares] + [until]
        found = []
        for each, end in zip(shares, ends, strict=True):
            seconds = (min(end, until) - max(each.since, since)).total_seconds()
            if seconds > 0:
                found.append((each, seconds))
        return found
