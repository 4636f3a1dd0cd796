"""What Cloud Monitoring's time-series API answers: aligned sums of whole minutes. Pure.

Used by `cloud_monitoring.py` beside this module. It reads what an answer says, and trusts none of
it: with an error or a further page it is partial.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from infra.metrics.fetch import Answered, short
from infra.metrics.histograms import slower_of_distributions
from infra.metrics.windows import Windows
from rollout.deferred import dataclass
from rollout.measurements import Counts, Unmeasured

SERVICE = "backend_target_name"
CODE_CLASS = "response_code_class"
BAD_CLASS = "500"
SECONDS_PER_MINUTE = 60.0

UNREADABLE = Unmeasured("unreadable", "the answer is not Cloud Monitoring's")

Points = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class TimeSeries:
    """One series: the backend service, the class of its response codes unless it is of all, and its
    points as the API has them.
    """

    service: str
    code_class: str
    points: Points


def series_of(
    answer: Answered, metric: str, *, by_class: bool = False
) -> tuple[TimeSeries, ...] | Unmeasured:
    """The series of an answer by backend service, and `by_class` of response codes."""
    body = answer.document if isinstance(answer.document, dict) else {}
    if answer.status != 200:
        return _failure(answer.status, body)
    if not isinstance(answer.document, dict):
        return UNREADABLE
    if body.get("executionErrors") or body.get("nextPageToken"):
        errors = short(body.get("executionErrors") or "there are further pages")
        return Unmeasured("partial", f"Cloud Monitoring answers in part: {errors}")
    found = []
    try:
        for each in body.get("timeSeries", []):
            labels = {
                **each.get("resource", {}).get("labels", {}),
                **each.get("metric", {}).get("labels", {}),
            }
            for label in (SERVICE, CODE_CLASS)[: 1 + by_class]:
                if label not in labels:
                    return Unmeasured("labels", f"{metric} has no label {label}: {short(labels)}")
            code_class = str(labels[CODE_CLASS]) if by_class else ""
            points = tuple(dict(point) for point in each["points"])
            found.append(TimeSeries(str(labels[SERVICE]), code_class, points))
    except (KeyError, TypeError, ValueError, AttributeError):
        return UNREADABLE
    for one in found:
        if sum((one.service, one.code_class) == (it.service, it.code_class) for it in found) > 1:
            return Unmeasured("unreadable", f"{metric} of {short(one.service)} is twice")
    return tuple(found)


def total_of(series: TimeSeries, metric: str) -> float | Unmeasured:
    """The sum of all points."""
    try:
        return _sum([_number(point["value"]) for point in series.points], metric, series.service)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return UNREADABLE


# ---- Windows


def counts_of(
    series: Sequence[TimeSeries], service: str, windows: Windows, metric: str
) -> list[Counts | Unmeasured]:
    """The requests of a backend service in each window; those of class 5xx are bad. Class 0, which
    nobody was answered, is not: the client had gone.
    """
    try:
        totals = _by_window([each for each in series if each.service == service], windows)
        bad = _by_window(
            [each for each in series if (each.service, each.code_class) == (service, BAD_CLASS)],
            windows,
        )
        return [
            lack or _counts(totals[number], bad[number], metric, service)
            for number, lack in enumerate(_lacks(series, service, windows, metric))
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return [UNREADABLE] * windows.count


def latencies_of(
    series: Sequence[TimeSeries], service: str, windows: Windows, metric: str, bound: float
) -> list[Counts | Unmeasured]:
    """The requests of a backend service in each window; those above the bound are bad."""
    try:
        values = _by_window([each for each in series if each.service == service], windows)
        return [
            lack or slower_of_distributions(bound, values[number], metric)
            for number, lack in enumerate(_lacks(series, service, windows, metric))
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError):
        return [UNREADABLE] * windows.count


def _by_window(series: Iterable[TimeSeries], windows: Windows) -> list[list[Mapping[str, Any]]]:
    """The values of all points of each window."""
    found: list[list[Mapping[str, Any]]] = [[] for _ in range(windows.count)]
    for each in series:
        for end, point in zip(_ends(each), each.points, strict=True):
            index = windows.containing(end)
            if index is None:
                raise ValueError("a point is not within the time of the query")
            found[index].append(point["value"])
    return found


def _ends(series: TimeSeries) -> list[float]:
    ends = [
        datetime.fromisoformat(point["interval"]["endTime"]).timestamp() for point in series.points
    ]
    if len(set(ends)) < len(ends):
        raise ValueError("a minute is twice")
    return ends


def _lacks(
    series: Sequence[TimeSeries], service: str, windows: Windows, metric: str
) -> list[Unmeasured | None]:
    """A minute without a point of a service had no requests, if others have one. Without any, the
    data of that minute are missing.
    """
    if all(each.service != service for each in series):
        return [Unmeasured("no-series", f"no series of {service} in {metric}")] * windows.count
    minutes: dict[int | None, set[float]] = defaultdict(set)
    for each in series:
        for end in _ends(each):
            minutes[windows.containing(end)].add(end)
    needed = round(windows.seconds / SECONDS_PER_MINUTE)
    return [
        None
        if len(minutes[number]) >= needed
        else Unmeasured("partial", f"{len(minutes[number])} of {needed} minutes in {metric}")
        for number in range(windows.count)
    ]


def _counts(
    total: Sequence[Mapping[str, Any]],
    bad: Sequence[Mapping[str, Any]],
    metric: str,
    service: str,
) -> Counts | Unmeasured:
    requests = _sum([_number(each) for each in total], metric, service)
    failed = _sum([_number(each) for each in bad], metric, service)
    if isinstance(requests, Unmeasured):
        return requests
    return failed if isinstance(failed, Unmeasured) else Counts(failed, requests)


def _sum(values: Sequence[float | None], metric: str, service: str) -> float | Unmeasured:
    if any(value is None for value in values):
        return Unmeasured("not-finite", f"NaN or an infinity in {metric}")
    if any(value and value < 0 for value in values):
        return Unmeasured("unreadable", f"{metric} of {short(service)} is negative")
    total = sum(value or 0.0 for value in values)
    if not math.isfinite(total):
        return Unmeasured("not-finite", f"the sum of {metric} is no number")
    return total


def _number(value: Mapping[str, Any]) -> float | None:
    """None: not a finite number. Of a double that is none, JSON has the name."""
    if "int64Value" in value:
        return float(int(value["int64Value"]))
    number = float(value["doubleValue"])
    return number if abs(number) < float("inf") else None


# ---- Failures


def _failure(status: int, body: Mapping[str, Any]) -> Unmeasured:
    error = body.get("error")
    text = short(error.get("message", "")) if isinstance(error, dict) else ""
    hint = "; grant the reconciler's identity roles/monitoring.viewer" if status == 403 else ""
    if status in (408, 504):
        return Unmeasured("timeout", f"Cloud Monitoring answered {status}: {text}")
    return Unmeasured("http", f"Cloud Monitoring answered {status}: {text or 'no reason'}{hint}")
