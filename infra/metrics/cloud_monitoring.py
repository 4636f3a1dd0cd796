"""Requests by backend service from Cloud Monitoring, as the function's own service account.

Made by `infra/wiring.py` for `SLIPWAY_METRICS=cloud-monitoring`. The global external Application
Load Balancer samples its traffic, so these numbers are estimates, written each minute and visible
up to 210 s later. The metric is of kind DELTA, whose raw samples PromQL does not define, so
requests come from the time-series API, as sums of whole minutes. Needs `roles/monitoring.viewer`.
google-auth is imported at first use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

from infra.metrics.fetch import Answered, Fetch, short
from infra.metrics.port import TIMEOUT_SECONDS, Names, SeriesFound
from infra.metrics.promql import PromQl
from rollout.measurements import (
    Answer,
    Delayed,
    GateQuery,
    Measured,
    Unmeasured,
    WindowAnswer,
)

ENDPOINT = "https://monitoring.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/monitoring.read",)
METRIC = "loadbalancing.googleapis.com/https/request_count"
LABEL = "backend_target_name"
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
    ) -> None:
        self._make_token = token or self._google_token
        self._fetch = Fetch(timeout_seconds, self._headers)
        self._url = f"{endpoint}/v3/projects/{project}/timeSeries"
        self._promql = PromQl(
            f"{endpoint}/v1/projects/{project}/location/global/prometheus", self._fetch
        )

    def query(self, text: str, at: datetime) -> SeriesFound | Unmeasured:
        return self._promql.query(text, at)

    def count_requests(
        self, services: Iterable[str], since: datetime, until: datetime
    ) -> Mapping[str, Answer]:
        """Whole minutes within the time whose data can have arrived by its end."""
        names = tuple(services)
        start, end = -(-_minutes(since) // 1), (until - DELAY).timestamp() // 60
        first, last = _moment(start), _moment(end)
        if first >= last:
            arrival = first + MINUTE + DELAY
            why = f"load-balancer metrics of this time arrive by {arrival:%H:%M:%SZ}"
            return dict.fromkeys(names, Delayed(arrival, why))
        answer = self._fetch.get(self._url, _question(names, first, last))
        if isinstance(answer, Unmeasured):
            return dict.fromkeys(names, answer)
        totals = _totals(answer)
        if isinstance(totals, Unmeasured):
            return dict.fromkeys(names, totals)
        return {
            name: Measured(totals[name], first, last, is_estimate=True)
            if name in totals
            else Unmeasured("no-series", f"no series of {name} in {METRIC}")
            for name in names
        }

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        return Unmeasured("no-source", f"{query.gate} cannot be read yet")

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


def _question(services: tuple[str, ...], first: datetime, last: datetime) -> dict[str, str | int]:
    names = ",".join(f'"{name}"' for name in services)
    return {
        "filter": f'metric.type="{METRIC}" AND resource.type="https_lb_rule"'
        f" AND resource.label.{LABEL}=one_of({names})",
        "interval.startTime": f"{first:%Y-%m-%dT%H:%M:%SZ}",
        "interval.endTime": f"{last:%Y-%m-%dT%H:%M:%SZ}",
        "aggregation.alignmentPeriod": "60s",
        "aggregation.perSeriesAligner": "ALIGN_DELTA",
        "aggregation.crossSeriesReducer": "REDUCE_SUM",
        "aggregation.groupByFields": f"resource.label.{LABEL}",
        "pageSize": 100_000,
    }


def _totals(answer: Answered) -> dict[str, float] | Unmeasured:
    """The sum of each backend service."""
    body = answer.document if isinstance(answer.document, dict) else {}
    if answer.status != 200:
        return _failure(answer.status, body)
    if not isinstance(answer.document, dict):
        return Unmeasured("unreadable", "the answer is not Cloud Monitoring's")
    if body.get("executionErrors") or body.get("nextPageToken"):
        errors = short(body.get("executionErrors") or "there are further pages")
        return Unmeasured("partial", f"Cloud Monitoring answers in part: {errors}")
    totals: dict[str, float] = {}
    try:
        for series in body.get("timeSeries", []):
            labels = series.get("resource", {}).get("labels", {})
            if LABEL not in labels:
                return Unmeasured("labels", f"{METRIC} has no label {LABEL}: {short(labels)}")
            values = [_value(point["value"]) for point in series["points"]]
            if any(value is None for value in values):
                return Unmeasured("not-finite", f"NaN or an infinity in {METRIC}")
            name = str(labels[LABEL])
            if name in totals or any(value and value < 0 for value in values):
                return Unmeasured("unreadable", f"{METRIC} of {short(name)} is twice, or negative")
            totals[name] = sum(value or 0.0 for value in values)
            if not math.isfinite(totals[name]):
                return Unmeasured("not-finite", f"the sum of {METRIC} is no number")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return Unmeasured("unreadable", "the answer is not Cloud Monitoring's")
    return totals


def _value(value: Mapping[str, Any]) -> float | None:
    """None: not a finite number. Of a double that is none, JSON has the name."""
    if "int64Value" in value:
        return float(int(value["int64Value"]))
    number = float(value["doubleValue"])
    return number if abs(number) < float("inf") else None


def _failure(status: int, body: Mapping[str, Any]) -> Unmeasured:
    error = body.get("error")
    text = short(error.get("message", "")) if isinstance(error, dict) else ""
    hint = "; grant the reconciler's identity roles/monitoring.viewer" if status == 403 else ""
    if status in (408, 504):
        return Unmeasured("timeout", f"Cloud Monitoring answered {status}: {text}")
    return Unmeasured("http", f"Cloud Monitoring answered {status}: {text or 'no reason'}{hint}")


def _minutes(time: datetime) -> float:
    return time.timestamp() / 60


def _moment(minutes: float) -> datetime:
    return datetime.fromtimestamp(minutes * 60, UTC)
