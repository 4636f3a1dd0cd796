"""The windows that a gate is asked about, as a Prometheus answers for both releases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.metrics import fetch
from infra.metrics.port import Names, Series
from infra.metrics.prometheus import LoadBalancer, Prometheus
from rollout.measurements import (
    Counts,
    CountSource,
    Delayed,
    GateQuery,
    LatencySource,
    Subject,
    Unmeasured,
    ValueSource,
    WindowAnswer,
    WindowMeasured,
    Windows,
)
from tests.infra.metric_server import FakePrometheus, server

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD, NEW = Names("slipway-tiny-blue", "v1", "t1"), Names("slipway-tiny-green", "v2", "t2")
OWN_BAD = 'app_errors_total{release=~"$releases"}'
OWN_TOTAL = 'app_requests_total{release=~"$releases"}'
QUERY = GateQuery(
    "http_errors",
    CountSource(),
    Subject("green", "v2", "t2"),
    Subject("blue", "v1", "t1"),
    NOON,
    NOON + timedelta(seconds=180),
    60,
    NOON + timedelta(seconds=190),
)


def counter(
    metric: str, rate: float, start: float = -120, end: float = 300, **labels: str
) -> Series:
    """A counter that is scraped each 10 s, and rises by `rate` in each."""
    count = round((end - start) / 10) + 1
    samples = ((NOON.timestamp() + start + 10 * n, rate * n) for n in range(count))
    named = {"__name__": metric, "job": "lb", "instance": "lb:80"}
    return Series(named | labels, tuple(samples))


def of_balancer(names: Names, code: str, rate: float, end: float = 300) -> Series:
    service = names.backend_service
    return counter("lb_requests_total", rate, end=end, backend_service=service, code=code)


def balancer() -> list[Series]:
    """Each 10 s: 100 requests and an error of the old release, 10 and 3 of the new one."""
    return [
        of_balancer(OLD, "200", 99),
        of_balancer(OLD, "500", 1),
        of_balancer(NEW, "200", 7),
        of_balancer(NEW, "503", 3),
    ]


def ask(
    found: FakePrometheus, query: GateQuery = QUERY, settings: LoadBalancer | None = None
) -> WindowAnswer:
    with server(found.reply) as url:
        return Prometheus(url, settings or LoadBalancer()).read_windows(query, NEW, OLD)


def windows(answer: WindowAnswer) -> list[WindowMeasured]:
    assert isinstance(answer, Windows), answer
    return list(answer.windows)


def lack(answer: WindowAnswer) -> Unmeasured:
    assert isinstance(answer, Unmeasured), answer
    return answer


def test_the_load_balancer_counts_both_releases_in_the_same_windows() -> None:
    answer = ask(FakePrometheus(balancer()))
    assert [(each.candidate, each.baseline) for each in windows(answer)] == [
        (Counts(18, 60), Counts(6, 600))
    ] * 3
    assert [each.start for each in windows(answer)] == [
        NOON + timedelta(seconds=60 * number) for number in range(3)
    ]
    assert isinstance(answer, Windows)
    assert not answer.is_estimate
    assert 'code=~"5.."' in answer.query
    assert '"slipway-tiny-green|slipway-tiny-blue"' in answer.query


def test_selectors_of_ones_own_tell_releases_apart_by_their_version() -> None:
    own = replace(QUERY, source=CountSource(OWN_BAD, OWN_TOTAL))
    found = FakePrometheus(
        [
            counter(metric, rate, instance=f"{release}:80", release=release)
            for release, bad, total in (("v1", 0, 100), ("v2", 1, 10))
            for metric, rate in (("app_errors_total", bad), ("app_requests_total", total))
        ]
    )
    first = windows(ask(found, own))[0]
    assert (first.candidate, first.baseline) == (Counts(6, 60), Counts(0, 600))


def test_without_any_bad_request_there_are_0_bad_ones_if_the_counter_could_exist() -> None:
    fine = [of_balancer(OLD, "200", 99), of_balancer(NEW, "200", 7)]
    assert windows(ask(FakePrometheus(fine)))[0].candidate == Counts(0, 42)
    for source, expected, why in (
        (CountSource(OWN_BAD, OWN_TOTAL), "no-series", "app_errors_total: no such metric"),
        (
            CountSource(OWN_TOTAL.replace("{", '{status="500",'), OWN_TOTAL),
            "labels",
            "app_requests_total has no label status, but",
        ),
    ):
        own = [counter("app_requests_total", 1, release=release) for release in ("v1", "v2")]
        answer = lack(ask(FakePrometheus(own), replace(QUERY, source=source)))
        assert answer.kind == expected
        assert answer.why.startswith(why)


def test_series_without_the_releases_say_whether_labels_were_renamed() -> None:
    renamed = [counter("lb_requests_total", 1, cluster="tiny", code="200")]
    answer = lack(ask(FakePrometheus(renamed)))
    assert answer.kind == "labels"
    assert "has no label backend_service, but cluster, code" in answer.why


def test_windows_without_any_series_are_over_for_good() -> None:
    """A source that was down for hours has nothing of that time, and is not asked for ever."""
    others = [of_balancer(Names("slipway-other-blue", "1", "t"), "200", 1)]
    for found, why in (
        (FakePrometheus(others), "lb_requests_total: no series of this model"),
        (FakePrometheus(), "lb_requests_total: no such metric"),
    ):
        nothing = Unmeasured("no-series", why)
        answer = windows(ask(found, replace(QUERY, now=NOON + timedelta(seconds=150))))
        assert [(each.candidate, each.baseline) for each in answer] == [(nothing, nothing)] * 2
    soon = replace(QUERY, now=NOON + timedelta(seconds=80))
    assert isinstance(ask(FakePrometheus(), soon), Delayed)


def test_a_release_that_is_missing_is_not_one_with_0_requests() -> None:
    answer = windows(ask(FakePrometheus([of_balancer(OLD, "200", 99)])))
    assert answer[0].baseline == Counts(0, 594)
    assert isinstance(answer[0].candidate, Unmeasured)
    assert answer[0].candidate.kind == "no-series"
    assert "slipway-tiny-green" in answer[0].candidate.why


def test_releases_with_one_name_cannot_be_told_apart() -> None:
    with server(FakePrometheus(balancer()).reply) as url:
        answer = lack(
            Prometheus(url).read_windows(
                QUERY, NEW, replace(OLD, backend_service=NEW.backend_service)
            )
        )
    assert answer.kind == "labels"
    assert "cannot be told apart" in answer.why


def changed(change: Callable[[float, float], Iterable[float]]) -> WindowAnswer:
    """The windows of a balancer whose counters of the new release are otherwise."""
    found = [of_balancer(OLD, "200", 99)]
    for each in (of_balancer(NEW, "200", 7), of_balancer(NEW, "503", 3)):
        samples = (
            (at, other)
            for at, value in each.samples
            for other in change(at - NOON.timestamp(), value)
        )
        found.append(Series(each.labels, tuple(samples)))
    return ask(FakePrometheus(found))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda at, value: [value if at < 90 else value - 40], "reset"),
        (lambda at, value: [float("nan") if at == 90 else value], "not-finite"),
        (lambda at, value: [value] if not 30 < at < 90 else [], "partial"),
    ],
)
def test_a_window_that_lacks_numbers_of_one_release_says_so_for_that_one_only(
    change: Callable[[float, float], Iterable[float]], expected: str
) -> None:
    found = windows(changed(change))
    assert isinstance(found[1].candidate, Unmeasured)
    assert found[1].candidate.kind == expected
    assert found[2].candidate == Counts(18, 60)
    assert all(each.baseline == Counts(0, 594) for each in found)


def test_a_window_whose_data_cannot_have_arrived_is_not_judged() -> None:
    early = [
        of_balancer(OLD, "200", 99, end=120),
        of_balancer(NEW, "200", 7, end=120),
    ]
    at_120 = replace(QUERY, until=NOON + timedelta(seconds=120), now=NOON + timedelta(seconds=139))
    assert len(windows(ask(FakePrometheus(early), at_120))) == 1
    at_140 = replace(at_120, now=NOON + timedelta(seconds=140))
    assert len(windows(ask(FakePrometheus(early), at_140))) == 2, "nobody is scraped any more"
    at_60 = replace(QUERY, until=NOON + timedelta(seconds=60), now=NOON + timedelta(seconds=79))
    none = ask(FakePrometheus([each for each in early_until(early, 60)]), at_60)
    assert none == Delayed(
        NOON + timedelta(seconds=80), "the data of the next window arrive by 12:01:20Z"
    )


def early_until(found: Iterable[Series], end: float) -> Iterable[Series]:
    for each in found:
        yield Series(
            each.labels, tuple(one for one in each.samples if one[0] <= NOON.timestamp() + end)
        )


def test_a_series_that_got_other_labels_does_not_count_from_0_again() -> None:
    early = [
        Series(each.labels, tuple(one for one in each.samples if one[0] <= NOON.timestamp() + 90))
        for each in balancer()
    ]
    late = [
        Series(
            {**each.labels, "zone": "a"},
            tuple(one for one in each.samples if one[0] > NOON.timestamp() + 90),
        )
        for each in balancer()
    ]
    found = windows(ask(FakePrometheus(early + late)))
    assert [each.candidate for each in found] == [Counts(18, 60), Counts(15, 50), Counts(18, 60)]
    assert found[1].baseline == Counts(5, 500)


@pytest.mark.parametrize(("instance", "bad"), [("lb:80", 10), ("", 0)])
def test_a_series_whose_target_nobody_knows_counts_from_its_first_sample(
    instance: str, bad: float
) -> None:
    found = [of_balancer(OLD, "200", 99), of_balancer(NEW, "200", 70)]
    begun = of_balancer(NEW, "503", 0)
    late = tuple((at, 10.0) for at, _ in begun.samples if at > NOON.timestamp() + 90)
    for each in (*found, Series(begun.labels, late)):
        found = [one for one in found if one.labels != each.labels]
        found.append(Series({**each.labels, "instance": instance}, each.samples))
    assert windows(ask(FakePrometheus(found)))[1].candidate == Counts(bad, 420 + bad)


def test_a_collector_may_scrape_a_little_late() -> None:
    late = [
        Series(
            each.labels,
            tuple((at + (at - NOON.timestamp()) / 500, value) for at, value in each.samples),
        )
        for each in balancer()
    ]
    ten = replace(QUERY, window_seconds=10, until=NOON + timedelta(seconds=30))
    assert len(windows(ask(FakePrometheus(late), ten))) == 3


def test_windows_that_are_shorter_than_the_time_between_scrapes_are_refused() -> None:
    short = replace(QUERY, window_seconds=5)
    answer = lack(ask(FakePrometheus(balancer()), short))
    assert answer.why == "the metrics are scraped each 10 s; give window_seconds of no less"


def test_a_warning_spoils_the_whole_answer() -> None:
    assert lack(ask(FakePrometheus(balancer(), more={"warnings": ["x"]}))).kind == "partial"
    hint = "PromQL info: metric might not be a counter, name does not end in _total"
    for more in ({"warnings": [hint]}, {"infos": [hint]}):
        assert windows(ask(FakePrometheus(balancer(), more=more)))
    both = {"warnings": [hint, "PromQL warning: x"]}
    assert lack(ask(FakePrometheus(balancer(), more=both))).kind == "partial"


def test_another_load_balancer_has_no_default_counters() -> None:
    own = LoadBalancer('rq{cluster=~"$backend_services"}', "", "")
    answer = lack(ask(FakePrometheus(), settings=own))
    assert answer.kind == "no-source"
    assert "SLIPWAY_ERRORS_COUNTER" in answer.why


# ---- Latency


def buckets(release: str, shares: dict[str, float], rate: float = 100) -> list[Series]:
    return [
        counter("ttft_bucket", rate * share, release=release, le=edge)
        for edge, share in shares.items()
    ]


SLOWER = LatencySource(0.25, 'ttft_bucket{release=~"$releases"}')


def test_requests_above_an_edge_are_the_difference_of_buckets() -> None:
    found = buckets("v1", {"0.1": 0.5, "0.25": 0.9, "1.0": 1, "+Inf": 1})
    found += buckets("v2", {"0.1": 0.2, "0.25": 0.6, "1": 0.9, "+Inf": 1}, rate=10)
    answer = ask(FakePrometheus(found), replace(QUERY, source=SLOWER))
    first, infinity = windows(answer)[0], float("inf")
    assert first.candidate == Counts(24, 60, ((0.1, 12), (0.25, 36), (1, 54), (infinity, 60)))
    assert first.baseline == Counts(60, 600, ((0.1, 300), (0.25, 540), (1, 600), (infinity, 600)))


def test_a_bound_that_is_no_edge_is_refused_with_the_edges_there_are() -> None:
    found = [
        each for name in ("v1", "v2") for each in buckets(name, {"0.1": 1, "0.5": 1, "+Inf": 1})
    ]
    answer = lack(ask(FakePrometheus(found), replace(QUERY, source=SLOWER)))
    assert answer.kind == "edge"
    assert answer.why == "ttft_bucket has no bucket that ends at 0.25 s; it has 0.1, 0.5"


def test_only_edges_that_all_instances_have_count() -> None:
    found = buckets("v1", {"0.1": 0.5, "0.25": 0.9, "+Inf": 1})
    found += buckets("v2", {"0.1": 0.5, "0.3": 0.9, "+Inf": 1})
    assert lack(ask(FakePrometheus(found), replace(QUERY, source=SLOWER))).kind == "edge"


def test_of_more_counters_than_one_answer_may_have_the_first_windows_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 3800)
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 100)
    found = windows(ask(FakePrometheus(balancer())))
    assert [each.candidate for each in found] == [Counts(18, 60)]
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    assert lack(ask(FakePrometheus(balancer()))).kind == "partial"


def test_of_more_buckets_than_one_answer_may_have_the_first_windows_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [each for name in ("v1", "v2") for each in buckets(name, {"0.25": 1, "+Inf": 1})]
    monkeypatch.setattr(fetch, "MAX_BYTES", 3800)
    monkeypatch.setattr(fetch, "CHUNK_BYTES", 100)
    three = replace(QUERY, source=SLOWER)
    assert len(windows(ask(FakePrometheus(found), three))) == 1
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    assert lack(ask(FakePrometheus(found), three)).kind == "partial"


def test_a_histogram_needs_buckets() -> None:
    found = [each for name in ("v1", "v2") for each in buckets(name, {"0.25": 1})]
    answer = lack(ask(FakePrometheus(found), replace(QUERY, source=SLOWER)))
    assert answer.why == "ttft_bucket has no bucket +Inf, which counts all requests"
    found = [counter("ttft_bucket", 1, release=release) for release in ("v1", "v2")]
    answer = lack(ask(FakePrometheus(found), replace(QUERY, source=SLOWER)))
    assert answer.why == "ttft_bucket has no label le, but instance, job, release"


# ---- Values


def value_of(*found: tuple[dict[str, str], list[float]]) -> WindowAnswer:
    """What a query gives at the ends of the windows."""
    values = [
        (
            labels,
            [(NOON.timestamp() + 60 * (n + 1), value) for n, value in enumerate(numbers)],
        )
        for labels, numbers in found
    ]
    source = ValueSource('queue{r="$release",s="$backend_service",x="$releases"}')
    fake = FakePrometheus(values=values)
    answer = ask(fake, replace(QUERY, source=source, now=NOON + timedelta(seconds=210)))
    if isinstance(answer, Windows):
        assert answer.query == 'queue{r="v2",s="slipway-tiny-green",x="$releases"}'
    return answer


def test_a_query_has_one_value_at_the_end_of_each_window() -> None:
    found = windows(value_of(({}, [1.5, float("nan")]), ({"x": "y"}, [float("nan"), 3])))
    assert found[0].end == NOON + timedelta(seconds=60)
    twice = found[0].candidate
    assert isinstance(twice, Unmeasured)
    assert twice.why.startswith("the query gives 2 series; it must give one")
    found = windows(value_of(({}, [1.5, float("nan")])))
    assert found[0].candidate == 1.5
    kinds = [each.candidate.kind for each in found[1:] if isinstance(each.candidate, Unmeasured)]
    assert kinds == ["not-finite", "no-series"]
    nothing = [each.candidate for each in windows(value_of())]
    assert [each.kind for each in nothing if isinstance(each, Unmeasured)] == ["no-series"] * 3
