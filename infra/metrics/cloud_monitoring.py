"""Requests from Cloud Monitoring, as the function's own service account.

Made by `infra/wiring.py` for `SLIPWAY_METRICS=cloud-monitoring`. The global external Application
Load Balancer samples its traffic, so these numbers are estimates, written each minute and visible
up to 210 s later. The metric is of kind DELTA, whose raw samples PromQL does not define, so
requests come from the time-series API, as sums of whole minutes. What a gate selects itself comes
as raw samples from its API of Prometheus, or from another Prometheus. Needs
`roles/monitoring.viewer`. google-auth is imported at first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

from infra.metrics.counters import Counters
from infra.metrics.fetch import Fetch
from infra.metrics.port import TIMEOUT_SECONDS, Names, SeriesFound
from infra.metrics.promql import PromQl
from infra.metrics.reading import moment_of, reading_of
from infra.metrics.time_series import (
    CODE_CLASS,
    SECONDS_PER_MINUTE,
    SERVICE,
    TimeSeries,
    counts_of,
    latencies_of,
    series_of,
    total_of,
)
from infra.metrics.windows import Windows
from rollout import measurements
from rollout.measurements import (
    Answer,
    Counts,
    CountSource,
    Delayed,
    GateQuery,
    LatencySource,
    Measured,
    Unmeasured,
    WindowAnswer,
    WindowMeasured,
)

ENDPOINT = "https://monitoring.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/monitoring.read",)
METRIC = "loadbalancing.googleapis.com/https/request_count"
LATENCIES = "loadbalancing.googleapis.com/https/total_latencies"
"""From the first byte of a request to the last of its answer, in milliseconds."""
DELAY = timedelta(seconds=270)
"""60 s of sampling and 210 s until it is visible."""
MINUTE = timedelta(minutes=1)


class CloudMonitoring:
    """`endpoint` is Google's, except in tests; `token` returns an access token."""

    def __init__(
        self,
        project: str,
        endpoint: str = ENDPOINT,
        token: Any = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        prometheus_url: str = "",
    ) -> None:
        """`prometheus_url`: what answers a gate's own selectors and queries; empty: Cloud
        Monitoring's API of Prometheus.
        """
        self._make_token = token or self._google_token
        self._fetch = Fetch(timeout_seconds, self._headers)
        self._url = f"{endpoint}/v3/projects/{project}/timeSeries"
        base = f"{endpoint}/v1/projects/{project}/location/global/prometheus"
        self._promql = PromQl(base, self._fetch)
        if prometheus_url:
            own = PromQl(prometheus_url, Fetch(timeout_seconds / 3))
        else:
            own = PromQl(base, Fetch(timeout_seconds / 3, self._headers))
        self._counters = Counters(own)

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        return self._promql.query(text, at)

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        """Whole minutes within the time whose data can have arrived by its end."""
        names = tuple(services)
        start, end = -(-_minutes(since) // 1), (until - DELAY).timestamp() // 60
        first, last = moment_of(60 * start), moment_of(60 * end)
        if first >= last:
            arrival = first + MINUTE + DELAY
            why = f"load-balancer metrics of this time arrive by {arrival:%H:%M:%SZ}"
            return dict.fromkeys(names, Delayed(arrival, why))
        series = self._series(METRIC, names, first, last)
        if isinstance(series, Unmeasured):
            return dict.fromkeys(names, series)
        found = {each.service: total_of(each, METRIC) for each in series}
        if lack := next((each for each in found.values() if isinstance(each, Unmeasured)), None):
            return dict.fromkeys(names, lack)
        return {
            name: Measured(total, first, last, is_estimate=True)
            if isinstance(total := found.get(name), float)
            else Unmeasured("no-series", f"no series of {name} in {METRIC}")
            for name in names
        }

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        """What the load balancer counts is in whole minutes."""
        source = query.source
        is_of_balancer = source == CountSource() or (
            isinstance(source, LatencySource) and not source.histogram
        )
        if not is_of_balancer:
            return self._counters.read_windows(query, candidate, baseline)
        if query.window_seconds % SECONDS_PER_MINUTE:
            why = f"Cloud Monitoring has whole minutes, and a window {query.window_seconds} s"
            return Unmeasured("no-source", why)
        windows = reading_of(query, candidate, baseline).windows
        ends = [end for end in windows.edges[1:] if moment_of(end) + DELAY <= query.now]
        if not ends:
            arrival = moment_of(windows.edges[1]) + DELAY
            why = f"load-balancer metrics of the next window arrive by {arrival:%H:%M:%SZ}"
            return Delayed(arrival, why)
        return self._windows(source, Windows((windows.edges[0], *ends)), candidate, baseline)

    def _windows(
        self,
        source: object,
        windows: Windows,
        candidate: Names,
        baseline: Names | None,
    ) -> WindowAnswer:
        bound = source.slower_than_seconds if isinstance(source, LatencySource) else None
        metric = METRIC if bound is None else LATENCIES
        names = [each.backend_service for each in (candidate, baseline) if each]
        if len(set(names)) < len(names):
            why = f"{SERVICE} is {names[0]} for both releases, which cannot be told apart"
            return Unmeasured("labels", f"{metric}: {why}")
        first, last = moment_of(windows.edges[0]), moment_of(windows.edges[-1])
        series = self._series(metric, names, first, last, by_class=bound is None)
        if isinstance(series, Unmeasured):
            return series

        def numbers(names: Names) -> Sequence[Counts | Unmeasured]:
            if bound is None:
                return counts_of(series, names.backend_service, windows, metric)
            return latencies_of(series, names.backend_service, windows, metric, bound)

        ours = numbers(candidate)
        theirs = numbers(baseline) if baseline else [None] * windows.count
        what = "of class 5xx" if bound is None else f"above {bound:g} s"
        return measurements.Windows(
            tuple(
                WindowMeasured(moment_of(start), moment_of(end), candidates, stables)
                for (start, end), candidates, stables in zip(
                    pairwise(windows.edges), ours, theirs, strict=True
                )
            ),
            f"{metric} of {', '.join(names)} {what}",
            is_estimate=True,
        )

    def _series(
        self,
        metric: str,
        services: Sequence[str],
        first: datetime,
        last: datetime,
        *,
        by_class: bool = False,
    ) -> tuple[TimeSeries, ...] | Unmeasured:
        question = _question(metric, services, first, last, by_class=by_class)
        answer = self._fetch.get(self._url, question)
        if isinstance(answer, Unmeasured):
            return answer
        return series_of(answer, metric, by_class=by_class)

    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._make_token()}"}

    @cached_property
    def _credentials(self) -> Any:
        import google.auth

        credentials, _ = google.auth.default(scopes=SCOPES)
        return credentials

    def _google_token(self) -> str:
        from google.auth.transport.requests import Request

        if not self._credentials.valid:
            self._credentials.refresh(partial(Request(), timeout=TIMEOUT_SECONDS))
        token: str = self._credentials.token
        return token


def _question(
    metric: str, services: Iterable[str], first: datetime, last: datetime, *, by_class: bool
) -> dict[str, str | int | Sequence[str]]:
    names = ",".join(f'"{name}"' for name in services)
    groups = [f"resource.label.{SERVICE}", f"metric.label.{CODE_CLASS}"]
    return {
        "filter": f'metric.type="{metric}" AND resource.type="https_lb_rule"'
        f" AND resource.label.{SERVICE}=one_of({names})",
        "interval.startTime": f"{first:%Y-%m-%dT%H:%M:%SZ}",
        "interval.endTime": f"{last:%Y-%m-%dT%H:%M:%SZ}",
        "aggregation.alignmentPeriod": "60s",
        "aggregation.perSeriesAligner": "ALIGN_DELTA",
        "aggregation.crossSeriesReducer": "REDUCE_SUM",
        "aggregation.groupByFields": groups if by_class else groups[:1],
        "pageSize": 100_000,
    }


def _minutes(time: datetime) -> float:
    return time.timestamp() / 60
