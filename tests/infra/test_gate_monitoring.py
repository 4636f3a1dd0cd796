"""The windows that a gate is asked about, as Cloud Monitoring answers for both releases."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from infra.metrics.cloud_monitoring import CloudMonitoring
from infra.metrics.port import Names
from rollout.measurements import (
    Counts,
    CountSource,
    Delayed,
    GateQuery,
    LatencySource,
    Subject,
    Unmeasured,
    WindowAnswer,
    Windows,
)
from tests.infra.metric_server import FakePrometheus, Reply, server
from tests.infra.test_gate_metrics import OWN_BAD, OWN_TOTAL, counter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE, GREEN = "slipway-tiny-blue", "slipway-tiny-green"
OLD, NEW = Names(BLUE, "v1", "t1"), Names(GREEN, "v2", "t2")
QUERY = GateQuery(
    "http_errors",
    CountSource(),
    Subject("green", "v2", "t2"),
    Subject("blue", "v1", "t1"),
    NOON,
    NOON + timedelta(seconds=420),
    60,
    NOON + timedelta(seconds=180 + 270),
)
SLOWER = replace(QUERY, source=LatencySource(0.305))


def series(service: str, code_class: str, *values: Any, first: int = 1) -> dict[str, Any]:
    """A value for each minute, as `int64Value`, or as it is; None leaves the minute out."""
    points = [
        {
            "interval": {
                "endTime": f"{NOON + timedelta(minutes=first + number):%Y-%m-%dT%H:%M:%SZ}"
            },
            "value": value if isinstance(value, dict) else {"int64Value": str(value)},
        }
        for number, value in enumerate(values)
        if value is not None
    ]
    return {
        "resource": {"type": "https_lb_rule", "labels": {"backend_target_name": service}},
        "metric": {"labels": {"response_code_class": code_class}},
        "points": points[::-1],  # the newest first, as the API has them
    }


def ask(*found: dict[str, Any], query: GateQuery = QUERY, **more: Any) -> WindowAnswer:
    body = json.dumps({"timeSeries": found} | more).encode()
    with server(lambda _: (200, body)) as url:
        return CloudMonitoring("demo", url, token=lambda: "t").read_windows(query, NEW, OLD)


def sides(answer: WindowAnswer) -> list[tuple[object, object]]:
    """Both sides of each window; of what lacks, its kind."""
    assert isinstance(answer, Windows), answer
    return [
        tuple(each.kind if isinstance(each, Unmeasured) else each for each in pair)  # type: ignore[misc]
        for pair in ((window.candidate, window.baseline) for window in answer.windows)
    ]


FINE = (
    series(BLUE, "200", 990, 980, 970),
    series(BLUE, "500", 10, 20, None),
    series(GREEN, "200", 9, 8, 7),
    series(GREEN, "0", 1, 1, 1),
    series(GREEN, "500", None, 3, 2),
)


def test_requests_of_whole_minutes_by_the_class_of_their_response() -> None:
    answer = ask(*FINE)
    assert sides(answer) == [
        (Counts(0, 10), Counts(10, 1000)),
        (Counts(3, 12), Counts(20, 1000)),
        (Counts(2, 10), Counts(0, 970)),
    ]
    assert isinstance(answer, Windows)
    assert answer.is_estimate
    assert answer.windows[0].end == NOON + timedelta(seconds=60)
    three = ask(*FINE, query=replace(QUERY, window_seconds=180))
    assert sides(three) == [(Counts(5, 32), Counts(30, 2970))]


def test_it_asks_for_sums_by_service_and_class_of_what_can_have_arrived() -> None:
    paths: list[str] = []

    def reply(path: str) -> Reply:
        paths.append(path)
        return 200, json.dumps({"timeSeries": []}).encode()

    late = replace(QUERY, now=QUERY.now - timedelta(seconds=1))
    with server(reply) as url:
        CloudMonitoring("demo", url, token=lambda: "t").read_windows(late, NEW, OLD)
    question = parse_qs(urlsplit(paths[0]).query)
    assert question["interval.startTime"] == ["2026-01-01T12:00:00Z"]
    assert question["interval.endTime"] == ["2026-01-01T12:02:00Z"]
    assert question["aggregation.groupByFields"] == [
        "resource.label.backend_target_name",
        "metric.label.response_code_class",
    ]
    soon = ask(query=replace(QUERY, now=NOON + timedelta(seconds=329)))
    assert isinstance(soon, Delayed)
    assert soon.until == NOON + timedelta(seconds=60 + 270)


def test_a_minute_without_requests_of_one_release_is_0_and_without_any_is_missing() -> None:
    answer = ask(series(BLUE, "200", 90, 90, None), series(GREEN, "200", 5, None, None))
    assert sides(answer) == [
        (Counts(0, 5), Counts(0, 90)),
        (Counts(0, 0), Counts(0, 90)),
        ("partial", "partial"),
    ]
    assert sides(ask(series(BLUE, "200", 90, 90, 90)))[0] == ("no-series", Counts(0, 90))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"doubleValue": "NaN"}, "not-finite"),
        ({"int64Value": "-1"}, "unreadable"),
        ({"distributionValue": {}}, "unreadable"),
    ],
)
def test_a_value_that_is_no_count_is_none(value: dict[str, Any], expected: str) -> None:
    assert sides(ask(series(BLUE, "200", 9, 9, 9), series(GREEN, "200", value, 1, 1)))[0] == (
        expected,
        Counts(0, 9),
    )


WRONG: dict[str, tuple[tuple[dict[str, Any], ...], dict[str, Any], str]] = {
    "errors": (FINE, {"executionErrors": [{"code": 4}]}, "partial"),
    "another page": (FINE, {"nextPageToken": "x"}, "partial"),
    "twice": ((*FINE, FINE[0]), {}, "unreadable"),
    "renamed": (({**FINE[0], "metric": {"labels": {"code": "2"}}},), {}, "labels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_way_to_fail_is_an_answer_of_its_own_kind(case: str) -> None:
    found, more, expected = WRONG[case]
    answer = ask(*found, **more)
    assert isinstance(answer, Unmeasured)
    assert answer.kind == expected


def test_points_outside_of_the_windows_are_none_of_theirs() -> None:
    answer = ask(series(BLUE, "200", 9, 9, 9), series(GREEN, "200", 1, 1, 1, 1))
    assert sides(answer)[0] == ("unreadable", Counts(0, 9))


def test_windows_must_be_whole_minutes() -> None:
    answer = ask(*FINE, query=replace(QUERY, window_seconds=90))
    assert isinstance(answer, Unmeasured)
    assert "whole minutes" in answer.why


# ---- Latency


EXPONENTIAL = {"exponentialBuckets": {"numFiniteBuckets": 20, "growthFactor": 1.4, "scale": 1}}
"""Its edges are 1.4 to the power of 0 to 20, in milliseconds: the 17th is 304.9."""


def distribution(counts: dict[int, int], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """How many requests each bucket has."""
    numbers = [counts.get(number, 0) for number in range(max(counts) + 1)]
    return {
        "distributionValue": {
            "count": str(sum(numbers)),
            "bucketOptions": options or EXPONENTIAL,
            "bucketCounts": [str(each) for each in numbers],
        }
    }


def latencies(*values: dict[str, Any], options: dict[str, Any] | None = None) -> WindowAnswer:
    three = [values[0]] * 3 if len(values) == 1 else values
    return ask(
        series(BLUE, "", *[distribution({3: 90, 19: 10}, options)] * 3),
        series(GREEN, "", *three),
        query=SLOWER,
    )


def test_requests_above_an_edge_are_those_of_the_buckets_above_it() -> None:
    # Bucket 17 ends at 304.9 ms, and bucket 18 begins there.
    answer = latencies(distribution({17: 6, 18: 3, 21: 1}))
    (candidate, baseline), *_ = sides(answer)
    assert isinstance(candidate, Counts)
    assert (candidate.bad, candidate.total) == (4, 10)
    assert candidate.below[17] == (pytest.approx((0.304913, 6), rel=1e-5))
    assert candidate.below[-1] == (float("inf"), 10)
    assert isinstance(baseline, Counts)
    assert (baseline.bad, baseline.total) == (10, 100)


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({"explicitBuckets": {"bounds": [100, 305, 900]}}, (0.1, 0.305, 0.9)),
        (
            {"linearBuckets": {"numFiniteBuckets": 2, "width": 200, "offset": 105}},
            (0.105, 0.305, 0.505),
        ),
    ],
)
def test_other_kinds_of_buckets_are_read_too(
    options: dict[str, Any], edges: tuple[float, ...]
) -> None:
    values = [distribution({0: 5, 1: 2, 2: 3}, options)] * 3
    answer = ask(series(BLUE, "", *values), series(GREEN, "", *values), query=SLOWER)
    found = sides(answer)[0][0]
    assert isinstance(found, Counts)
    assert (found.bad, found.total) == (3, 10)
    assert tuple(edge for edge, _ in found.below[:-1]) == pytest.approx(edges)


def test_a_bound_that_is_no_edge_is_refused_with_the_edges_there_are() -> None:
    values = [distribution({0: 1}, {"explicitBuckets": {"bounds": [100, 900]}})] * 3
    answer = ask(series(BLUE, "", *values), series(GREEN, "", *values), query=SLOWER)
    assert isinstance(answer, Windows)
    lack = answer.windows[0].candidate
    assert isinstance(lack, Unmeasured)
    assert lack.kind == "edge"
    assert lack.why.endswith("has no bucket that ends at 0.305 s; it has 0.1, 0.9")


def test_distributions_that_contradict_themselves_are_unreadable() -> None:
    wrong = distribution({17: 6})
    wrong["distributionValue"]["count"] = "7"
    empty: dict[str, Any] = {"distributionValue": {"count": "0"}}
    found = sides(latencies(wrong, empty, {"distributionValue": {"count": "1"}}))
    assert [each[0] for each in found] == ["unreadable", Counts(0, 0), "unreadable"]


# ---- A gate's own selectors


def test_selectors_of_ones_own_are_read_as_from_any_prometheus() -> None:
    own = replace(QUERY, source=CountSource(OWN_BAD, OWN_TOTAL))
    found = FakePrometheus(
        [
            counter(metric, rate, instance=release, release=release)
            for release in ("v1", "v2")
            for metric, rate in (("app_errors_total", 1), ("app_requests_total", 10))
        ]
    )
    with server(found.reply) as url:
        answer = CloudMonitoring("demo", url, token=lambda: "t").read_windows(own, NEW, OLD)
    assert sides(answer)[0] == (Counts(6, 60), Counts(6, 60))
    assert isinstance(answer, Windows)
    assert not answer.is_estimate
    assert found.paths[0].startswith("/v1/projects/demo/location/global/prometheus/api/v1/query?")


def test_another_prometheus_may_have_the_metrics_of_instances() -> None:
    own = replace(QUERY, source=CountSource(OWN_TOTAL, OWN_TOTAL))
    found = FakePrometheus(
        [counter("app_requests_total", 1, release=release) for release in ("v1", "v2")]
    )
    nowhere = "http://127.0.0.1:9"
    with server(found.reply) as url:
        source = CloudMonitoring("demo", nowhere, token=lambda: "t", prometheus_url=url)
        assert sides(source.read_windows(own, NEW, OLD))[0] == (Counts(6, 6), Counts(6, 6))
        answer = source.read_windows(QUERY, NEW, OLD)
    assert isinstance(answer, Unmeasured)
    assert answer.kind == "http"
