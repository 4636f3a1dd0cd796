"""Requests by backend service from any Prometheus that scrapes a proxy or load balancer.

Made by `infra/wiring.py` for `PROMETHEUS_URL`. It takes the differences of the raw counters and not
`rate()` or `increase()`, which extrapolate: 12 requests must not become 12.4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from infra.metrics.fetch import Fetch
from infra.metrics.port import TIMEOUT_SECONDS, Names, Series, SeriesFound
from infra.metrics.promql import PromQl
from rollout.measurements import (
    Answer,
    CounterReset,
    GateQuery,
    Measured,
    Unmeasured,
    WindowAnswer,
)

REQUESTS = 'lb_requests_total{backend_service=~"$backend_services"}'
"""What the emulator's data plane exports."""
SLACK = 1.0  # seconds: the time of a query is rounded
_PLACEHOLDER = "$backend_services"
_SELECTOR = re.compile(
    r"\s*(?P<metric>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{"
    r'[^{}\[\]]*?(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*=~\s*"\$backend_services"[^{}\[\]]*\}\s*'
)


class Prometheus:
    """`requests` selects the counters of requests: each request in one of them, and the label that
    has the backend service's name matched by `=~"$backend_services"`.
    """

    def __init__(
        self, url: str, requests: str = REQUESTS, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        found = _SELECTOR.fullmatch(requests)
        if found is None or requests.count(_PLACEHOLDER) != 1:
            raise ValueError(
                "SLIPWAY_REQUESTS_COUNTER must select counters by one label that matches"
                f" {_PLACEHOLDER}, as in {REQUESTS}, got {requests!r}"
            )
        self._selector, self._metric, self._label = requests, found["metric"], found["label"]
        self._promql = PromQl(url, Fetch(timeout_seconds / 2))  # a second question may follow

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        return self._promql.query(text, at)

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        names = tuple(services)
        seconds = max(1, round((until - since).total_seconds()))
        selector = self._selector.replace(_PLACEHOLDER, "|".join(names))  # [a-z0-9-]: no escapes
        answer = self._promql.query(f"{selector}[{seconds}s]", until)
        if isinstance(answer, Unmeasured):
            return dict.fromkeys(names, answer)
        if not answer.series:
            return dict.fromkeys(names, self._missing())
        if any(self._label not in each.labels for each in answer.series):
            return dict.fromkeys(names, self._other_labels(answer.series[0].labels))
        start = until - timedelta(seconds=seconds)
        if why := _contradiction(answer.series, start.timestamp(), until.timestamp()):
            return dict.fromkeys(names, Unmeasured("unreadable", f"{self._metric}: {why}"))
        return {
            name: _count(name, [each for each in answer.series if each.labels[self._label] == name])
            for name in names
        }

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        return Unmeasured("no-source", f"{query.gate} cannot be read yet")

    def _missing(self) -> Unmeasured:
        """Why no series was selected: the metric may have other labels than it had."""
        labels = self._promql.labels_of(self._metric)
        if isinstance(labels, Unmeasured):
            return labels
        if labels and self._label not in labels:
            return self._other_labels(labels)
        why = "no series of this model" if labels else "no such metric"
        return Unmeasured("no-series", f"{self._metric}: {why}")

    def _other_labels(self, labels: Iterable[str]) -> Unmeasured:
        found = ", ".join(sorted(set(labels) - {"__name__"}))
        return Unmeasured("labels", f"{self._metric} has no label {self._label}, but {found}")


def _contradiction(series: tuple[Series, ...], start: float, end: float) -> str:
    """What no Prometheus answers about counters in this time; empty if there is nothing."""
    if len({frozenset(each.labels.items()) for each in series}) < len(series):
        return "a series occurs twice"
    for each in series:
        moments = [moment for moment, _ in each.samples]
        if any(not start - SLACK <= moment <= end + SLACK for moment in moments):
            return "a sample is not within the time of the query"
        if any(after <= before for before, after in pairwise(moments)):
            return "samples are not in the order of time"
        if any(value < 0 for _, value in each.samples):
            return "a counter is negative"
    return ""


def _count(name: str, series: list[Series]) -> Answer:
    """What the counters rose by, from their first to their last sample within the time. A counter
    that first appears in it counts from there: it may have begun long before.
    """
    samples = [each.samples for each in series if each.samples]
    if not samples:
        return Unmeasured("no-series", f"no series of {name}")
    rises = [
        max(0.0, after - before) for each in samples for (_, before), (_, after) in pairwise(each)
    ]
    total = sum(rises)
    if not math.isfinite(total):
        return Unmeasured("not-finite", f"the sum of the counters of {name} is no number")
    if any(after < before for each in samples for (_, before), (_, after) in pairwise(each)):
        return CounterReset(total, f"a counter of {name} began anew")
    first = min(each[0][0] for each in samples)
    last = max(each[-1][0] for each in samples)
    return Measured(total, _moment(first), _moment(last))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
