"""Requests in virtual time, and the source of metrics that counts them by backend service.

While time passes the URL map splits the requests by its weights. The source can lie in every way in
which a real one does: a schedule says at which question, and how.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from compute_emulator import Emulator, route
from infra.errors import Unavailable
from infra.metrics.port import Names, SeriesFound
from rollout.measurements import (
    Answer,
    Counts,
    Delayed,
    GateQuery,
    Unmeasured,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from tests.assurance.simulation.adapters import Boundary
from tests.assurance.simulation.schedule import Fault

PER_SECOND = 2000.0
BASE_SHARE = 0.01
LIES_OF_WINDOWS = ("reset", "partial", "no-series")
"""What a source says of single windows; every other lie is about all of them."""


class RequestsCounted:
    """`PER_SECOND` requests reach the model. `errors`: the share of 5xx by colour, beside the
    `BASE_SHARE` of all.
    """

    def __init__(self, emulator: Emulator, errors: Mapping[str, float]) -> None:
        self._emulator, self._errors = emulator, errors
        self._totals: dict[str, tuple[float, float]] = {}
        self._samples: list[tuple[float, dict[str, tuple[float, float]]]] = []

    def advance(self, seconds: float, now: float) -> None:
        url_map: dict[str, Any] | None = self._emulator.find("urlMaps", "slipway-gateway")
        weights = route(url_map, "", "/tiny").weights if url_map else ()
        whole = sum(weight for _, weight in weights) or 1
        for url, weight in weights:
            service = url.rsplit("/", 1)[-1]
            passed = PER_SECOND * seconds * weight / whole
            share = BASE_SHARE + self._errors.get(service.rsplit("-", 1)[-1], 0.0)
            bad, total = self._totals.get(service, (0.0, 0.0))
            self._totals[service] = bad + passed * share, total + passed
        self._samples.append((now, dict(self._totals)))

    def windows(self, query: GateQuery, candidate: Names, baseline: Names | None) -> Windows:
        start, span, found = query.since, timedelta(seconds=query.window_seconds), []
        while start + span <= query.until:
            sides = [
                self._counts(each.backend_service, start, start + span) if each else None
                for each in (candidate, baseline)
            ]
            found.append(WindowMeasured(start, start + span, sides[0] or Counts(0, 0), sides[1]))
            start += span
        return Windows(tuple(found), query.gate)

    def _counts(self, service: str, start: datetime, end: datetime) -> Counts | Unmeasured:
        before, after = self._at(service, start), self._at(service, end)
        if before is None or after is None:
            return Unmeasured("no-series", f"no series of {service}")
        return Counts(after[0] - before[0], after[1] - before[1])

    def _at(self, service: str, moment: datetime) -> tuple[float, float] | None:
        last = bisect_right(self._samples, moment.timestamp(), key=lambda sample: sample[0])
        return self._samples[last - 1][1].get(service) if last else None


class SimMetrics:
    """The source of metrics that all workers share."""

    def __init__(self, boundary: Boundary, counted: RequestsCounted) -> None:
        self._boundary, self._counted = boundary, counted

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        raise AssertionError("no gate of a workload asks for a value")

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        raise AssertionError("no step of a workload has a minimum of requests")

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        def do(fault: Fault | None) -> WindowAnswer:
            answer = self._counted.windows(query, candidate, baseline)
            return _lie(answer, fault, query) if fault and fault.kind == "metrics" else answer

        try:
            return self._boundary("metrics.read_windows", query.gate, False, do)
        except Unavailable as error:
            return Unmeasured("http", str(error))


def _lie(answer: Windows, fault: Fault, query: GateQuery) -> WindowAnswer:
    if fault.code == "stale":
        return Delayed(query.until, "the data of this time have not arrived")
    lie = Unmeasured(fault.code, f"the source lies: {fault.code}")  # type: ignore[arg-type]
    if fault.code not in LIES_OF_WINDOWS:
        return lie
    windows = tuple(
        WindowMeasured(each.start, each.end, lie, each.baseline) for each in answer.windows
    )
    return Windows(windows, answer.query)
