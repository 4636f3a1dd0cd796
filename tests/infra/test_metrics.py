"""Sources of metrics: what a Prometheus and Cloud Monitoring may answer, by servers that answer
like them, break off, lie or stay silent.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from infra.metrics import fetch
from infra.metrics.cloud_monitoring import CloudMonitoring
from infra.metrics.prometheus import LoadBalancer, Prometheus, balancer_of
from infra.wiring import _metrics_maker, _metrics_source
from rollout.measurements import Answer, CounterReset, Delayed, Measured, Unmeasured
from rollout.spec.metrics import PROMETHEUS, MetricsSource
from tests.infra.metric_server import Reply, raw_server, server

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(seconds=600)
BLUE, GREEN = "slipway-tiny-blue", "slipway-tiny-green"


# ---- Prometheus


def matrix(*series: tuple[str, list[Any]], label: str = "backend_service", **more: Any) -> bytes:
    """An answer with raw samples: (backend service, values), a minute apart."""
    result = [
        {
            "metric": {"__name__": "lb_requests_total", label: name, "code": str(number)},
            "values": [
                [SINCE.timestamp() + 60 * minute, str(value)] for minute, value in enumerate(values)
            ],
        }
        for number, (name, values) in enumerate(series)
    ]
    data = {"resultType": "matrix", "result": result}
    return json.dumps({"status": "success", "data": data} | more).encode()


def ask(url: str, timeout_seconds: float = 4.0) -> tuple[Answer, Answer]:
    """The answers for blue and green."""
    source = Prometheus(url, timeout_seconds=timeout_seconds)
    answers = source.count_requests((BLUE, GREEN), SINCE, UNTIL)
    return answers[BLUE], answers[GREEN]


def green(body: bytes, status: int = 200) -> Answer:
    with server(lambda _: (status, body)) as url:
        return ask(url)[1]


def test_requests_are_the_differences_of_raw_counters_of_each_backend_service() -> None:
    paths: list[str] = []

    def reply(path: str) -> Reply:
        paths.append(path)
        blue = (BLUE, [1000, 1100, 1300])
        return 200, matrix(blue, (BLUE, [5, 5, 6]), (GREEN, [7, 9, 12]))

    with server(reply) as url:
        answers = ask(url)
    end = SINCE + timedelta(seconds=120)
    assert answers == (Measured(301, SINCE, end), Measured(5, SINCE, end))
    query = parse_qs(urlsplit(paths[0]).query)
    services = "slipway-tiny-blue|slipway-tiny-green"
    assert query["query"] == [f'lb_requests_total{{backend_service=~"{services}"}}[600s]']
    assert query["time"] == [f"{UNTIL.timestamp():.3f}"]


def test_a_counter_that_begins_anew_gives_a_lower_bound() -> None:
    answer = green(matrix((GREEN, [100, 160, 5, 25])))
    assert isinstance(answer, CounterReset)
    assert answer.at_least == 80


def test_a_missing_series_is_not_zero() -> None:
    assert kind(green(matrix((BLUE, [1, 2])))) == "no-series"


def kind(answer: Answer) -> str:
    assert isinstance(answer, Unmeasured), answer
    return answer.kind


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([], "no-series"), (["__name__", "service"], "labels"), (["backend_service"], "no-series")],
)
def test_without_series_the_labels_say_whether_they_were_renamed(
    labels: list[str], expected: str
) -> None:
    def reply(path: str) -> Reply:
        body = {"status": "success", "data": labels}
        return 200, json.dumps(body).encode() if "/labels" in path else matrix()

    with server(reply) as url:
        answer = ask(url)[1]
    assert kind(answer) == expected
    assert isinstance(answer, Unmeasured)
    assert ("but service" in answer.why) == (expected == "labels")


def test_a_series_without_the_label_says_which_it_has() -> None:
    assert kind(green(matrix((GREEN, [1, 2]), label="service"))) == "labels"


TWICE = (
    b'[{"metric": {"__name__": "lb_requests_total", "backend_service": "slipway-tiny-green",'
    b' "code": "0"}, "values": []}, {'
)
DEEP = b"[" * 100_000
PROMETHEUS_ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "NaN": (200, matrix((GREEN, [1, "NaN", 3])), "not-finite"),
    "an infinity": (200, matrix((GREEN, [1, "+Inf"])), "not-finite"),
    "warnings": (200, matrix((GREEN, [1, 2]), warnings=["remote read failed"]), "partial"),
    "VictoriaMetrics' mark": (200, matrix((GREEN, [1, 2]), isPartial=True), "partial"),
    "a query that took too long": (
        503,
        b'{"status": "error", "errorType": "timeout", "error": "query timed out"}',
        "timeout",
    ),
    "a bad query": (400, b'{"status": "error", "errorType": "bad_data", "error": "x"}', "http"),
    "a proxy's page": (502, b"<html>", "http"),
    "no access": (403, b"", "http"),
    "a redirect": (302, b"", "http"),
    "a page with 200": (200, b"<html>", "unreadable"),
    "a list": (200, b"[1]", "unreadable"),
    "nested too deeply": (200, DEEP, "unreadable"),
    "a negative counter": (200, matrix((GREEN, [-5, 5])), "unreadable"),
    "a sum that is infinite": (
        200,
        matrix((GREEN, [0, "1.7e308"]), (GREEN, [0, "1.7e308"])),
        "not-finite",
    ),
    "the same series twice": (200, matrix((GREEN, [1, 2])).replace(b"[{", TWICE), "unreadable"),
    "a time that does not exist": (
        200,
        matrix((GREEN, [1, 2])).replace(b"[1767268860.0", b"[1e300"),
        "unreadable",
    ),
    "a time in the future": (
        200,
        matrix((GREEN, [1, 2])).replace(b"[1767268860.0", b"[1767278860.0"),
        "unreadable",
    ),
    "times in disorder": (
        200,
        matrix((GREEN, [1, 2])).replace(b"[1767268860.0", b"[1767268799.5"),
        "unreadable",
    ),
    "a scalar": (
        200,
        b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}',
        "unreadable",
    ),
    "text as a number": (200, matrix((GREEN, ["many"])), "unreadable"),
    "no labels": (
        200,
        b'{"status": "success", "data": {"resultType": "matrix", "result": [{"values": []}]}}',
        "unreadable",
    ),
}


@pytest.mark.parametrize("case", PROMETHEUS_ANSWERS)
def test_each_way_to_fail_is_an_answer_of_its_own_kind(case: str) -> None:
    status, body, expected = PROMETHEUS_ANSWERS[case]
    assert kind(green(body, status)) == expected


def test_an_answer_that_is_too_large_is_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    assert kind(green(b"x" * 5000)) == "partial"


def test_no_server_holds_a_pass_beyond_the_deadline() -> None:
    stop, is_closed = threading.Event(), threading.Event()

    def drip_header(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"X-Y: z\r\n")

    def drip_body(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        with suppress(ConnectionError):
            while not stop.wait(0.05):
                connection.sendall(b" ")
            return
        is_closed.set()

    def stay_silent(_: socket.socket) -> None:
        stop.wait(5)

    for speak in (drip_header, drip_body, stay_silent):
        with raw_server(speak) as url:
            began = time.monotonic()
            assert kind(ask(url, timeout_seconds=0.6)[1]) == "timeout"
            assert time.monotonic() - began < 2
    assert is_closed.wait(2)
    stop.set()


def test_a_server_that_breaks_off_or_is_gone_is_an_answer_too() -> None:
    def break_off(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{")

    with raw_server(break_off) as url:
        assert kind(ask(url)[1]) == "partial"
    assert kind(ask(url)[1]) == "http"
    assert kind(ask("http://[not-a-host/")[1]) == "http"


def test_a_redirect_names_the_address_to_set() -> None:
    def redirect(connection: socket.socket) -> None:
        location = b"https://ann:s3cret@metrics.example.com/prometheus/api/v1/query?query=x"
        connection.sendall(b"HTTP/1.1 301 Moved\r\nLocation: " + location + b"\r\n\r\n")

    with raw_server(redirect) as url:
        answer = ask(url)[1]
    assert kind(answer) == "http"
    assert "redirects to https://metrics.example.com/prometheus/api/v1/query," in str(answer)


def test_what_a_proxy_writes_instead_of_json_is_the_reason_unless_it_is_a_page() -> None:
    assert "answered 401: no org id" in str(green(b"no org id\n", 401))
    assert "answered 502: no reason" in str(green(b"<html>Bad gateway", 502))


def test_the_url_may_end_with_the_path_of_the_api() -> None:
    paths: list[str] = []

    def reply(path: str) -> tuple[int, bytes]:
        paths.append(path.partition("?")[0])
        return 404, b""

    with server(reply) as url:
        for end in ("/prometheus", "/prometheus/", "/prometheus/api/v1", "/prometheus/api/v1/"):
            ask(url + end)
    assert set(paths) == {"/prometheus/api/v1/query"}


def test_a_refused_url_or_header_shows_no_credentials() -> None:
    for url in ("http://ann:s3cret@[not-a-host/", "http://ann:s3cret@host:port/"):
        answer = ask(url)[1]
        assert kind(answer) == "http"
        assert "s3cret" not in str(answer)
    source = CloudMonitoring("p", "http://localhost:1", token=lambda: "s3cret\n x")
    answer = source.count_requests((GREEN,), SINCE, UNTIL)[GREEN]
    assert kind(answer) == "http"
    assert "s3cret" not in str(answer)


@pytest.mark.parametrize(
    "selector",
    [
        "lb_requests_total",
        'sum(rate(lb_requests_total{backend_service=~"$backend_services"}[1m]))',
        'lb_requests_total{backend_service="$backend_services"}',
        'lb_requests_total{backend_service=~"$backend_services"}[5m]',
    ],
)
def test_a_setting_that_selects_no_counters_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="SLIPWAY_REQUESTS_COUNTER must select"):
        Prometheus("http://localhost", LoadBalancer(selector))


def test_one_may_name_the_counters_of_another_proxy() -> None:
    paths: list[str] = []

    def reply(path: str) -> Reply:
        paths.append(path)
        return 200, matrix((GREEN, [1, 4]), label="cluster")

    with server(reply) as url:
        source = Prometheus(url, LoadBalancer('envoy_rq{job="edge", cluster=~"$backend_services"}'))
        answer = source.count_requests((GREEN,), SINCE, UNTIL)[GREEN]
    assert isinstance(answer, Measured)
    assert answer.requests == 3
    query = parse_qs(urlsplit(paths[0]).query)["query"]
    assert query == [f'envoy_rq{{job="edge", cluster=~"{GREEN}"}}[600s]']


# ---- Cloud Monitoring


def sums(*series: tuple[str, list[Any]], **more: Any) -> bytes:
    found = [
        {
            "resource": {"type": "https_lb_rule", "labels": {"backend_target_name": name}},
            "points": [{"value": value} for value in values],
        }
        for name, values in series
    ]
    return json.dumps({"timeSeries": found} | more).encode()


def count(value: int) -> dict[str, str]:
    return {"int64Value": str(value)}


def ask_monitoring(url: str, until: datetime = UNTIL) -> Answer:
    source = CloudMonitoring("demo", url, token=lambda: "secret", timeout_seconds=2)
    return source.count_requests((BLUE, GREEN), SINCE + timedelta(seconds=30), until)[GREEN]


def test_cloud_monitoring_gives_sums_of_whole_minutes_that_have_arrived() -> None:
    paths: list[str] = []

    def reply(path: str) -> Reply:
        paths.append(path)
        return 200, sums((GREEN, [count(40), count(2)]), (BLUE, [count(900)]))

    with server(reply) as url:
        answer = ask_monitoring(url)
    # From the first full minute to the last one that ended 270 s ago.
    first, last = SINCE + timedelta(minutes=1), SINCE + timedelta(minutes=5)
    assert answer == Measured(42, first, last, is_estimate=True)
    query = parse_qs(urlsplit(paths[0]).query)
    assert urlsplit(paths[0]).path == "/v3/projects/demo/timeSeries"
    assert query["interval.startTime"] == ["2026-01-01T12:01:00Z"]
    assert query["interval.endTime"] == ["2026-01-01T12:05:00Z"]
    assert f'one_of("{BLUE}","{GREEN}")' in query["filter"][0]


def test_what_cannot_have_arrived_is_not_read() -> None:
    def reply(path: str) -> Reply:
        raise AssertionError(path)

    with server(reply) as url:
        answer = ask_monitoring(url, until=SINCE + timedelta(seconds=300))
    assert isinstance(answer, Delayed)
    assert answer.until == SINCE + timedelta(seconds=60 + 60 + 270)


MONITORING_ANSWERS: dict[str, tuple[int, bytes, str]] = {
    "no series": (200, b"{}", "no-series"),
    "another group's": (200, sums((BLUE, [count(1)])), "no-series"),
    "execution errors": (200, sums((GREEN, [count(1)]), executionErrors=[{"code": 4}]), "partial"),
    "another page": (200, sums((GREEN, [count(1)]), nextPageToken="x"), "partial"),
    "NaN": (200, sums((GREEN, [{"doubleValue": "NaN"}])), "not-finite"),
    "an infinity": (200, sums((GREEN, [{"doubleValue": "Infinity"}])), "not-finite"),
    "a negative count": (200, sums((GREEN, [count(-1)])), "unreadable"),
    "the same series twice": (200, sums((GREEN, [count(1)]), (GREEN, [count(1)])), "unreadable"),
    "a sum that is infinite": (200, sums((GREEN, [{"doubleValue": 1.7e308}] * 2)), "not-finite"),
    "a distribution": (200, sums((GREEN, [{"distributionValue": {}}])), "unreadable"),
    "renamed labels": (
        200,
        b'{"timeSeries": [{"resource": {"labels": {"target": "x"}}, "points": []}]}',
        "labels",
    ),
    "text": (200, b'"fine"', "unreadable"),
    "no permission": (403, b'{"error": {"message": "denied"}}', "http"),
    "a deadline": (504, b"", "timeout"),
    "a quota": (429, b'{"error": "too many"}', "http"),
}


@pytest.mark.parametrize("case", MONITORING_ANSWERS)
def test_cloud_monitoring_fails_in_the_same_kinds(case: str) -> None:
    status, body, expected = MONITORING_ANSWERS[case]
    with server(lambda _: (status, body)) as url:
        assert kind(ask_monitoring(url)) == expected


def test_a_missing_role_is_named() -> None:
    with server(lambda _: (403, b'{"error": {"message": "denied"}}')) as url:
        answer = ask_monitoring(url)
    assert isinstance(answer, Unmeasured)
    assert "roles/monitoring.viewer" in answer.why


def test_without_a_token_it_asks_nothing_and_says_why() -> None:
    def token() -> str:
        raise RuntimeError("no metadata server")

    source = CloudMonitoring("demo", "http://127.0.0.1:9", token=token)
    answer = source.count_requests((GREEN,), SINCE, UNTIL)[GREEN]
    assert isinstance(answer, Unmeasured)
    assert "no metadata server" in answer.why


# ---- Settings


def test_the_environment_names_the_source() -> None:
    assert _metrics_maker("demo", {}) is None
    prometheus = _metrics_maker("demo", {"PROMETHEUS_URL": "http://prometheus:9090"})
    assert prometheus is not None
    assert isinstance(prometheus(), Prometheus)
    monitoring = _metrics_maker("demo", {"SLIPWAY_METRICS": "cloud-monitoring"})
    assert monitoring is not None
    assert isinstance(monitoring(), CloudMonitoring)
    with pytest.raises(ValueError, match="SLIPWAY_METRICS must be cloud-monitoring"):
        _metrics_maker("demo", {"SLIPWAY_METRICS": "prometheus"})


def test_settings_say_which_presets_the_source_has_metrics_for() -> None:
    def source(**settings: str) -> MetricsSource:
        return _metrics_source({f"SLIPWAY_{name}": value for name, value in settings.items()})

    assert source(METRICS="cloud-monitoring").kind == "cloud-monitoring"
    assert source() == PROMETHEUS
    own = source(REQUESTS_COUNTER="x")
    assert (own.has_errors, own.has_latencies) == (False, False)
    own = source(REQUESTS_COUNTER="x", ERRORS_COUNTER="y", LATENCY_HISTOGRAM="z")
    assert (own.has_errors, own.has_latencies) == (True, True)
    settings = {"SLIPWAY_REQUESTS_COUNTER": "x", "SLIPWAY_ERRORS_COUNTER": "y"}
    assert balancer_of(settings) == LoadBalancer("x", "y", "")
    assert balancer_of({}) == LoadBalancer()
