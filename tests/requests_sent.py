"""Requests in virtual time, and the source of metrics that counts them: the port of
`infra/metrics`, without HTTP.

While time passes, the emulator's URL map splits the requests by its weights, and the emulator's own
counters count them by backend service. Weights change between two times only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from compute_emulator import Metrics as Counters
from compute_emulator import route
from infra.metrics.port import SeriesFound
from rollout.measurements import Answer, Measured, Unmeasured
from tests.scenario import Scenario


class SentRequests:
    """`per_second` requests reach the gateway for a model. `lack`: what the source answers instead
    of numbers. `questions` counts what it was asked.
    """

    def __init__(self, story: Scenario, per_second: float, model: str = "tiny") -> None:
        self.story, self.per_second, self.model = story, per_second, model
        self.lack: Unmeasured | None = None
        self.questions = 0
        self._counters = Counters()
        self._due: dict[str, float] = {}
        self._samples: list[tuple[datetime, Mapping[str, int]]] = []
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
        (begin, before), (end, after) = found[0], found[-1]
        return Measured(after[service] - before[service], begin, end)

    def _pass(self, seconds: float) -> None:
        url_map: dict[str, Any] | None = self.story.emulator.find("urlMaps", "slipway-gateway")
        weights = route(url_map, "", f"/{self.model}").weights if url_map else ()
        whole = sum(weight for _, weight in weights) or 1
        for url, weight in weights:
            service = url.rsplit("/", 1)[-1]
            due = self._due.get(service, 0.0) + self.per_second * seconds * weight / whole
            self._due[service] = due - int(due)
            for _ in range(int(due)):
                self._counters.record_response((service, service, "", ""), 200, 0.01)
        totals: Counter[str] = Counter()
        for (labels, _), count in self._counters.requests.items():
            totals[labels[0]] += count
        self._samples.append((self.story.clock.now(), totals))
