"""Windows of counters, histograms and queries from a source that answers PromQL.

Used by both adapters beside this module. It reads raw samples, and `windows.py` splits them: an
answer of the source is for one query, and a window of a release without a number says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import assert_never

from infra.metrics.port import Names, Series, SeriesFound
from infra.metrics.promql import PromQl
from infra.metrics.windows import (
    DELAY_SECONDS,
    MOST_DELAY_SECONDS,
    Scrapes,
    Windows,
    complete_windows,
    lacks,
    rises,
    target_of,
)
from rollout import measurements
from rollout.measurements import (
    Counts,
    CountSource,
    Delayed,
    GateQuery,
    LatencySource,
    Unmeasured,
    ValueSource,
    WindowAnswer,
    WindowMeasured,
)
from rollout.spec.gates import edge_at, no_edge
from rollout.spec.selectors import Selector, parse_selector

PARTS = 8
"""If the buckets of all windows are too much for one answer, so small a part of them is read."""
SHORTEST_LOOKBACK_SECONDS, LONGEST_LOOKBACK_SECONDS = 60.0, 600.0
LOOKBACK_WINDOWS = 3
"""How long before the first window its counters may have been scraped last."""
SLACK_SECONDS = 1.0
"""The time of a query is rounded."""

_NAME_IN_QUERY = re.compile(r"\$(release|template|backend_service)(?![a-zA-Z0-9_])")
Numbers = list[Counts | Unmeasured]


@dataclass(frozen=True)
class Reading:
    """The windows of a query that are read now, and the names of the releases."""

    windows: Windows
    now: float
    candidate: Names
    baseline: Names | None

    def part(self) -> Reading:
        """The first windows of it."""
        count = max(1, self.windows.count // PARTS)
        return replace(self, windows=Windows(self.windows.edges[: count + 1]))

    @property
    def end(self) -> float:
        """Late enough for the first samples after the windows."""
        return self.windows.edges[-1] + MOST_DELAY_SECONDS

    @property
    def start(self) -> float:
        seconds = max(SHORTEST_LOOKBACK_SECONDS, LOOKBACK_WINDOWS * self.windows.seconds)
        return self.windows.edges[0] - min(seconds, LONGEST_LOOKBACK_SECONDS)


def reading_of(query: GateQuery, candidate: Names, baseline: Names | None) -> Reading:
    start, until, seconds = query.since.timestamp(), query.until.timestamp(), query.window_seconds
    count = max(1, round((until - start) / seconds))
    edges = tuple(start + seconds * number for number in range(count + 1))
    return Reading(Windows(edges), query.now.timestamp(), candidate, baseline)


@dataclass(frozen=True)
class BalancerSelectors:
    """What a gate counts that has no selectors of its own; None: there is no such metric."""

    errors: Selector | None = None
    requests: Selector | None = None
    latencies: Selector | None = None


NO_BALANCER = BalancerSelectors()


class Counters:
    """Reads the windows of a gate by selectors that name both releases."""

    def __init__(self, promql: PromQl, balancer: BalancerSelectors = NO_BALANCER) -> None:
        self._promql, self._balancer = promql, balancer

    def read_windows(
        self, query: GateQuery, candidate: Names, baseline: Names | None
    ) -> WindowAnswer:
        reading = reading_of(query, candidate, baseline)
        match query.source:
            case ValueSource(query=text):
                return self.read_values(text, reading)
            case CountSource(bad=bad, total=total):
                errors = parse_selector(bad) if bad else self._balancer.errors
                requests = parse_selector(total) if total else self._balancer.requests
                if errors is None or requests is None:
                    return _no_selector("bad and total", "SLIPWAY_ERRORS_COUNTER")
                return self.read_counts(errors, requests, reading)
            case LatencySource(slower_than_seconds=bound, histogram=text):
                buckets = parse_selector(text) if text else self._balancer.latencies
                if buckets is None:
                    return _no_selector("histogram", "SLIPWAY_LATENCY_HISTOGRAM")
                return self.read_latency(buckets, bound, reading)
            case _:
                assert_never(query.source)

    def read_counts(self, bad: Selector, total: Selector, reading: Reading) -> WindowAnswer:
        """All requests are read first, so that the bad ones are not of an earlier moment."""
        totals = self._select(total, reading)
        if isinstance(totals, Unmeasured):
            return _without_numbers(totals, reading)
        found = self._promql.query(_ranged(bad, reading), _moment(reading.end), is_finite=False)
        if isinstance(found, Unmeasured):
            return found
        if lack := _contradiction(found, bad, reading) or self._missing_bad(
            found, bad, totals, total
        ):
            return lack
        scrapes = Scrapes((*totals.series, *found.series), reading.windows)

        def numbers(names: Names) -> Numbers:
            selected = _of(totals, total, names)
            what = f"{total.metric} of {_name(total, names)}"
            return [
                lack or _counts(rise, bad_rise, what)
                for lack, rise, bad_rise in zip(
                    lacks(map(target_of, selected), scrapes, reading.windows, what),
                    rises(selected, scrapes, reading.windows, what),
                    rises(
                        _of(found, bad, names),
                        scrapes,
                        reading.windows,
                        f"{bad.metric} of {_name(bad, names)}",
                    ),
                    strict=True,
                )
            ]

        text = f"{_of_both(bad, reading)} of {_of_both(total, reading)}"
        return _answer(reading, scrapes, numbers, text)

    def read_latency(self, histogram: Selector, bound: float, reading: Reading) -> WindowAnswer:
        """Bad are the requests above the bound; it is compared with edges to three digits."""
        found = self._select(histogram, reading)
        if isinstance(found, Unmeasured) and found.kind in ("partial", "timeout"):
            reading = reading.part()
            found = self._select(histogram, reading)
        if isinstance(found, Unmeasured):
            return _without_numbers(found, reading)
        if any("le" not in each.labels for each in found.series):
            return other_labels(histogram, found.series[0].labels, "le")
        edges = common_edges(found.series)
        if isinstance(edges, Unmeasured):
            return edges
        edge = edge_at(edges, bound)
        if edge is None or math.inf not in edges:
            why = f"{histogram.metric} {no_edge(bound, edges)}"
            return Unmeasured("edge", why)
        scrapes = Scrapes(found.series, reading.windows)

        def numbers(names: Names) -> Numbers:
            selected = _of(found, histogram, names)
            what = f"{histogram.metric} of {_name(histogram, names)}"
            by_edge = [
                rises(
                    [each for each in selected if float(each.labels["le"]) == one],
                    scrapes,
                    reading.windows,
                    what,
                )
                for one in edges
            ]
            missing = lacks(map(target_of, selected), scrapes, reading.windows, what)
            return [
                missing[number]
                or slower_than(edges, [each[number] for each in by_edge], edge, what)
                for number in range(reading.windows.count)
            ]

        return _answer(
            reading, scrapes, numbers, f"{_of_both(histogram, reading)} above {edge:g} s"
        )

    def read_values(self, text: str, reading: Reading) -> WindowAnswer:
        """The value of a query at each window's end."""
        names = asdict(reading.candidate)
        query = _NAME_IN_QUERY.sub(lambda found: str(names[found[1]]), text)
        delay = min(DELAY_SECONDS, reading.windows.seconds)
        ends = [end for end in reading.windows.edges[1:] if end + delay <= reading.now]
        if not ends:
            return _delayed(reading.windows.edges[1] + delay)
        first, last = _moment(ends[0]), _moment(ends[-1])
        found = self._promql.query_range(query, first, last, reading.windows.seconds)
        if isinstance(found, Unmeasured):
            return found
        values = [_value(found.series, end, query) for end in ends]
        windows = tuple(
            WindowMeasured(_moment(start), _moment(end), value)
            for (start, end), value in zip(pairwise(reading.windows.edges), values, strict=False)
        )
        return measurements.Windows(windows, query)

    def _select(self, selector: Selector, reading: Reading) -> SeriesFound | Unmeasured:
        """The series of a selector that must have some, with the label that names the release."""
        if lack := _same_names(selector, reading):
            return lack
        found = self._promql.query(
            _ranged(selector, reading), _moment(reading.end), is_finite=False
        )
        if isinstance(found, Unmeasured):
            return found
        if not found.series:
            return missing(self._promql, selector)
        return _contradiction(found, selector, reading) or found

    def _missing_bad(
        self, found: SeriesFound, bad: Selector, totals: SeriesFound, total: Selector
    ) -> Unmeasured | None:
        """Why no counter of bad requests was selected, unless there was simply no bad one. It must
        not be taken for that if the metric or one of its labels does not exist.
        """
        if found.series:
            return None
        labels: frozenset[str] | Unmeasured = frozenset[str]()
        if bad.metric == total.metric:
            labels = frozenset(label for each in totals.series for label in each.labels)
        else:
            labels = self._promql.labels_of(bad.series)
        if isinstance(labels, Unmeasured):
            return labels
        if not labels:
            why = (
                "no such metric; select one that begins at 0, or that exists before the first error"
            )
            return Unmeasured("no-series", f"{bad.metric}: {why}")
        lacking = bad.required - labels
        return other_labels(bad, labels, min(lacking)) if lacking else None


# ---- Selectors


def missing(promql: PromQl, selector: Selector) -> Unmeasured:
    """Why no series was selected: the metric may have other labels than it had."""
    labels = promql.labels_of(selector.series)
    if isinstance(labels, Unmeasured):
        return labels
    if labels and (lacking := selector.required - labels):
        return other_labels(selector, labels, min(lacking))
    why = "no series of this model" if labels else "no such metric"
    return Unmeasured("no-series", f"{selector.metric}: {why}")


def _no_selector(fields: str, setting: str) -> Unmeasured:
    why = f"the source of metrics has no selector: give {fields}, or set {setting}"
    return Unmeasured("no-source", why)


def _ranged(selector: Selector, reading: Reading) -> str:
    return f"{_of_both(selector, reading)}[{math.ceil(reading.end - reading.start)}s]"


def _of_both(selector: Selector, reading: Reading) -> str:
    both = (reading.candidate, reading.baseline) if reading.baseline else (reading.candidate,)
    return selector.with_names(_name(selector, each) for each in both)


def _name(selector: Selector, names: Names) -> str:
    return str(getattr(names, selector.placeholder[1:-1]))  # $releases: names.release


def _of(found: SeriesFound, selector: Selector, names: Names) -> list[Series]:
    name = _name(selector, names)
    return [each for each in found.series if each.labels.get(selector.label) == name]


def _same_names(selector: Selector, reading: Reading) -> Unmeasured | None:
    if reading.baseline is None:
        return None
    names = _name(selector, reading.candidate), _name(selector, reading.baseline)
    if names[0] != names[1]:
        return None
    why = f"{selector.label} is {names[0]} for both releases, which cannot be told apart"
    return Unmeasured("labels", f"{selector.metric}: {why}")


def other_labels(selector: Selector, labels: Iterable[str], lacking: str) -> Unmeasured:
    found = ", ".join(sorted(set(labels) - {"__name__"}))
    return Unmeasured("labels", f"{selector.metric} has no label {lacking}, but {found}")


def _contradiction(found: SeriesFound, selector: Selector, reading: Reading) -> Unmeasured | None:
    """What no Prometheus answers about counters in this time."""
    if why := contradiction(
        found.series, reading.start - SLACK_SECONDS, reading.end + SLACK_SECONDS
    ):
        return Unmeasured("unreadable", f"{selector.metric}: {why}")
    return next(
        (
            other_labels(selector, each.labels, selector.label)
            for each in found.series
            if selector.label not in each.labels
        ),
        None,
    )


def contradiction(series: Sequence[Series], start: float, end: float) -> str:
    """Why these cannot be samples from `start` to `end`; empty if they can."""
    if len({frozenset(each.labels.items()) for each in series}) < len(series):
        return "a series occurs twice"
    for each in series:
        moments = [moment for moment, _ in each.samples]
        if any(not start <= moment <= end for moment in moments):
            return "a sample is not within the time of the query"
        if any(after <= before for before, after in pairwise(moments)):
            return "samples are not in the order of time"
    return ""


# ---- Histograms


def common_edges(series: Sequence[Series]) -> tuple[float, ...] | Unmeasured:
    """The edges that every histogram has, rising. One with fewer would count in some sums only."""
    histograms: dict[frozenset[tuple[str, str]], set[float]] = {}
    try:
        for each in series:
            others = frozenset(item for item in each.labels.items() if item[0] != "le")
            histograms.setdefault(others, set()).add(float(each.labels["le"]))
    except ValueError:
        return Unmeasured("unreadable", "a label le is no number")
    return tuple(sorted(set.intersection(*histograms.values())))


def slower_than(
    edges: Sequence[float], below: Sequence[float | Unmeasured], edge: float, what: str
) -> Counts | Unmeasured:
    """The counts of one window from the cumulative counts at all edges."""
    numbers: list[float] = []
    for each in below:
        if isinstance(each, Unmeasured):
            return each
        numbers.append(each)
    if any(after < before for before, after in pairwise(numbers)):
        return Unmeasured("unreadable", f"{what}: a bucket has more than a wider one")
    total = numbers[-1]
    bad = total - numbers[edges.index(edge)]
    return Counts(bad, total, tuple(zip(edges, numbers, strict=True)))


# ---- Answers


def _counts(total: float | Unmeasured, bad: float | Unmeasured, what: str) -> Counts | Unmeasured:
    if isinstance(total, Unmeasured):
        return total
    if isinstance(bad, Unmeasured):
        return bad
    if bad > total:
        return Unmeasured("unreadable", f"{what}: {bad:g} are bad of {total:g}")
    return Counts(bad, total)


def _answer(
    reading: Reading, scrapes: Scrapes, numbers: Callable[[Names], Numbers], text: str
) -> WindowAnswer:
    if lack := _too_short(scrapes, reading.windows):
        return lack
    complete = complete_windows(scrapes, reading.windows, reading.now)
    if not complete:
        return _delayed(reading.windows.edges[1] + scrapes.delay)
    candidate = numbers(reading.candidate)[:complete]
    baseline: Sequence[Counts | Unmeasured | None] = [None] * complete
    if reading.baseline:
        baseline = numbers(reading.baseline)
    windows = zip(pairwise(reading.windows.edges), candidate, baseline, strict=False)
    return measurements.Windows(
        tuple(
            WindowMeasured(_moment(start), _moment(end), ours, theirs)
            for (start, end), ours, theirs in windows
        ),
        text,
    )


def _without_numbers(lack: Unmeasured, reading: Reading) -> WindowAnswer:
    """Without any series of both releases, the windows that are over are without numbers for good:
    the source may have been down for hours. Any other lack is of the whole answer.
    """
    if lack.kind != "no-series":
        return lack
    scrapes = Scrapes((), reading.windows)
    complete = complete_windows(scrapes, reading.windows, reading.now)
    if not complete:
        return _delayed(reading.windows.edges[1] + scrapes.delay)
    baseline = lack if reading.baseline else None
    spans = list(pairwise(reading.windows.edges))[:complete]
    return measurements.Windows(
        tuple(WindowMeasured(_moment(start), _moment(end), lack, baseline) for start, end in spans),
        "",
    )


def _too_short(scrapes: Scrapes, windows: Windows) -> Unmeasured | None:
    """Why no window can be compared: most of them would contain no scrape."""
    if scrapes.interval is None or scrapes.interval <= windows.seconds:
        return None
    interval = f"{scrapes.interval:.3g} s"
    why = f"the metrics are scraped each {interval}; give window_seconds of more than that"
    return Unmeasured("no-source", why)


def _value(series: Sequence[Series], moment: float, query: str) -> float | Unmeasured:
    """The value of the only series that has one then."""
    found = [
        value
        for each in series
        for at, value in each.samples
        if abs(at - moment) < SLACK_SECONDS / 2
    ]
    if not found:
        return Unmeasured("no-series", f"no value of {query}")
    if len(found) > 1:
        why = f"the query gives {len(found)} series; it must give one: {query}"
        return Unmeasured("unreadable", why)
    if not math.isfinite(found[0]):
        return Unmeasured("not-finite", f"{found[0]} is the value of {query}")
    return found[0]


def _delayed(until: float) -> Delayed:
    moment = _moment(until)
    return Delayed(moment, f"the data of the next window arrive by {moment:%H:%M:%SZ}")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
