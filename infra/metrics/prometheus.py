"""Requests by backend service from any Prometheus that scrapes a proxy or load balancer.

Made by `infra/wiring.py` for `PROMETHEUS_URL`. It takes the differences of the raw counters and not
`rate()` or `increase()`, which extrapolate: 12 requests must not become 12.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from infra.metrics.counters import BalancerSelectors, Counters, missing
from infra.metrics.fetch import Fetch
from infra.metrics.port import TIMEOUT_SECONDS, Names, Series, SeriesFound
from infra.metrics.promql import PromQl
from infra.metrics.reading import contradiction, other_labels
from rollout.deferred import dataclass
from rollout.measurements import (
    Answer,
    CounterReset,
    GateQuery,
    Measured,
    Unmeasured,
    WindowAnswer,
)
from rollout.spec.gates import BY_SERVICE
from rollout.spec.selectors import Selector, parse_selector

REQUESTS = 'lb_requests_total{backend_service=~"$backend_services"}'
ERRORS = 'lb_requests_total{backend_service=~"$backend_services",code=~"5.."}'
LATENCIES = 'lb_request_duration_seconds_bucket{backend_service=~"$backend_services"}'
"""What the emulator's data plane exports."""
SLACK = 1.0  # seconds: the time of a query is rounded


@dataclass(frozen=True)
class LoadBalancer:
    """Which metrics a load balancer or proxy exports: its requests, those that went wrong, and the
    buckets of their latencies, each as a selector by `$backend_services`. Each request is in
    exactly one series of `requests`. Empty: it has no such metric.
    """

    requests: str = REQUESTS
    errors: str = ERRORS
    latencies: str = LATENCIES


def balancer_of(environment: Mapping[str, str]) -> LoadBalancer:
    """What the settings say of it. Another load balancer has none of the default metrics."""
    requests = environment.get("SLIPWAY_REQUESTS_COUNTER")
    default = LoadBalancer(requests, "", "") if requests else LoadBalancer()
    return LoadBalancer(
        default.requests,
        environment.get("SLIPWAY_ERRORS_COUNTER") or default.errors,
        environment.get("SLIPWAY_LATENCY_HISTOGRAM") or default.latencies,
    )


class Prometheus:
    def __init__(
        self,
        url: str,
        balancer: LoadBalancer = LoadBalancer(),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._requests = _selector("SLIPWAY_REQUESTS_COUNTER", balancer.requests)
        errors, latencies = (
            _selector(setting, text) if text else None
            for setting, text in (
                ("SLIPWAY_ERRORS_COUNTER", balancer.errors),
                ("SLIPWAY_LATENCY_HISTOGRAM", balancer.latencies),
            )
        )
        self._promql = PromQl(url, Fetch(timeout_seconds / 2))  # a second question may follow
        self._counters = Counters(
            PromQl(url, Fetch(timeout_seconds / 3)),  # and a third
            BalancerSelectors(errors, self._requests, latencies),
        )

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        return self._promql.query(text, at)

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        names = tuple(services)
        seconds = max(1, round((until - since).total_seconds()))
        selector = self._requests.with_names(names)
        answer = self._promql.query(f"{selector}[{seconds}s]", until)
        if isinstance(answer, Unmeasured):
            return dict.fromkeys(names, answer)
        if not answer.series:
            return dict.fromkeys(names, missing(self._promql, self._requests))
        label, metric = self._requests.label, self._requests.metric
        if any(label not in each.labels for each in answer.series):
            lack = other_labels(self._requests, answer.series[0].labels, label)
            return dict.fromkeys(names, lack)
        start = until - timedelta(seconds=seconds)
        if why := _contradiction(answer.series, start.timestamp(), until.timestamp()):
            return dict.fromkeys(names, Unmeasured("unreadable", f"{metric}: {why}"))
        return {
            name: _count(name, [each for each in answer.series if each.labels[label] == name])
            for name in names
        }

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        return self._counters.read_windows(query, candidate, baseline)


def _selector(setting: str, text: str) -> Selector:
    found = parse_selector(text)
    if found is None or found.placeholder != BY_SERVICE:
        raise ValueError(
            f"{setting} must select counters by one label that matches {BY_SERVICE}, as in"
            f" {REQUESTS}, got {text!r}"
        )
    return found


def _contradiction(series: tuple[Series, ...], start: float, end: float) -> str:
    """What no Prometheus answers about counters in this time; empty if there is nothing."""
    if any(value < 0 for each in series for _, value in each.samples):
        return "a counter is negative"
    return contradiction(series, start - SLACK, end + SLACK)


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
