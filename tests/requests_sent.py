"""Requests in virtual time, and the source of metrics that counts them: the port of
`infra/metrics`, without HTTP.

While time passes, the emulator's URL map splits the requests by its weights, and the emulator's own
counters count them by backend service. Weights change between two times only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from compute_emulator import Metrics as Counters
from compute_emulator import route
from infra.metrics.port import Names, SeriesFound
from rollout.measurements import (
    Answer,
    Counts,
    GateQuery,
    Measured,
    Unmeasured,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from tests.scenario import Scenario


class SentRequests:
    """`per_second` requests reach the gateway for a model. `lack`: what the source answers instead
    of numbers, and `bad` the share of 5xx by backend service. `questions` counts what it was asked.
    """

    def __init__(self, story: Scenario, per_second: float, model: str = "tiny") -> None:
        self.story, self.per_second, self.model = story, per_second, model
        self.lack: Unmeasured | None = None
        self.bad: dict[str, float] = {}
        self.questions = 0
        self._counters = Counters()
        self._due: dict[str, float] = {}
        self._wrong: dict[str, float] = {}
        self._samples: list[tuple[datetime, Mapping[str, int], Mapping[str, int]]] = []
        story.given_metrics(self)
        story.clock.meters.append(self._pass)

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        raise NotImplementedError("nothing asks in PromQL yet")

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        self.questions += 1
        return {each: self._count(each, since, until) for each in services}

    def _count(self, service: str, since: datetime, until: datetime) -> Answer:
        if self.lack:
            return self.lack
        first = bisect_left(self._samples, since, key=lambda sample: sample[0])
        last = bisect_right(self._samples, until, key=lambda sample: sample[0])
        found = [sample for sample in self._samples[first:last] if service in sample[1]]
        if not found:
            return Unmeasured("no-series", f"no series of {service}")
        (begin, before, _), (end, after, _) = found[0], found[-1]
        return Measured(after[service] - before[service], begin, end)

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        """`lack`: about every window alike."""
        self.questions += 1
        if self.lack:
            return self.lack
        start, span, windows = query.since, timedelta(seconds=query.window_seconds), []
        while start + span <= query.until:
            found = [
                self._counts(each.backend_service, start, start + span) if each else None
                for each in (candidate, baseline)
            ]
            windows.append(WindowMeasured(start, start + span, found[0] or Counts(0, 0), found[1]))
            start += span
        return Windows(tuple(windows), query.gate)

    def _counts(self, service: str, start: datetime, end: datetime) -> Counts | Unmeasured:
        totals = []
        for moment in (start, end):
            last = bisect_right(self._samples, moment, key=lambda sample: sample[0])
            if last == 0 or service not in self._samples[last - 1][1]:
                return Unmeasured("no-series", f"no series of {service}")
            sample = self._samples[last - 1]
            totals.append((sample[2].get(service, 0), sample[1][service]))
        (bad, total), (bad_after, total_after) = totals
        return Counts(bad_after - bad, total_after - total)

    def _pass(self, seconds: float) -> None:
        url_map: dict[str, Any] | None = self.story.emulator.find("urlMaps", "slipway-gateway")
        weights = route(url_map, "", f"/{self.model}").weights if url_map else ()
        whole = sum(weight for _, weight in weights) or 1
        for url, weight in weights:
            service = url.rsplit("/", 1)[-1]
            due = self._due.get(service, 0.0) + self.per_second * seconds * weight / whole
            self._due[service] = due - int(due)
            for _ in range(int(due)):
                wrong = self._wrong.get(service, 0.0) + self.bad.get(service, 0.0)
                self._wrong[service] = wrong - int(wrong)
                status = 500 if wrong >= 1 else 200
                self._counters.record_response((service, service, "", ""), status, 0.01)
        totals: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for (labels, status), count in self._counters.requests.items():
            totals[labels[0]] += count
            errors[labels[0]] += count if status == 500 else 0
        self._samples.append((self.story.clock.now(), totals, errors))
