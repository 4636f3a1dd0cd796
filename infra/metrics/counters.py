"""Windows of counters, histograms and queries from a source that answers PromQL.

Used by both adapters beside this module. It reads raw samples, and `windows.py` splits them: an
answer of the source is for one query, and a window of a release without a number says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import assert_never

from infra.metrics.histograms import common_edges, slower_than
from infra.metrics.port import Names, SeriesFound
from infra.metrics.promql import PromQl
from infra.metrics.reading import (
    Reading,
    delayed,
    moment_of,
    name_of,
    other_labels,
    reading_of,
    series_of,
    value_at,
)
from infra.metrics.windows import (
    DELAY_SECONDS,
    Scrapes,
    Windows,
    complete_windows,
    lacks,
    rises,
    target_of,
)
from rollout import measurements
from rollout.deferred import dataclass
from rollout.measurements import (
    Counts,
    CountSource,
    GateQuery,
    LatencySource,
    Unmeasured,
    ValueSource,
    WindowAnswer,
    WindowMeasured,
)
from rollout.spec.gates import NAME_IN_QUERY, edge_at, no_edge
from rollout.spec.selectors import Selector, parse_selector

JITTER = 0.1
"""Not every collector scrapes to the millisecond. A window without a scrape has no requests, and
the next one has them."""
Numbers = list[Counts | Unmeasured]


@dataclass(frozen=True)
class BalancerSelectors:
    """What a gate counts that has no selectors of its own; None: there is no such metric."""

    errors: Selector | None = None
    requests: Selector | None = None
    latencies: Selector | None = None


NO_BALANCER = BalancerSelectors()


class Counters:
    """Reads the windows of a gate by selectors that name both releases."""

    def __init__(
        self,
        promql: PromQl,
        balancer: BalancerSelectors = NO_BALANCER,
        *,
        is_of_part: bool = False,
    ) -> None:
        """`is_of_part`: reads a part of the windows already, and no smaller one."""
        self._promql, self._balancer = promql, balancer
        self._of_part = None
        if not is_of_part:
            self._of_part = Counters(promql.in_half_the_time(), balancer, is_of_part=True)

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
        if self._of_part and _is_too_much(totals):
            return self._of_part.read_counts(bad, total, reading.part())
        if isinstance(totals, Unmeasured):
            return _without_numbers(totals, reading)
        found = self._promql.query(
            reading.range_selector(bad), moment_of(reading.end), is_finite=False
        )
        if isinstance(found, Unmeasured):
            return found
        if lack := reading.contradiction(found, bad) or self._missing_bad(
            found, bad, totals, total
        ):
            return lack
        scrapes = Scrapes(totals.series, reading.windows)
        both = Scrapes((*totals.series, *found.series), reading.windows)

        def numbers(names: Names) -> Numbers:
            selected = series_of(totals, total, names)
            what = f"{total.metric} of {name_of(total, names)}"
            return [
                lack or _counts(rise, bad_rise, what)
                for lack, rise, bad_rise in zip(
                    lacks(map(target_of, selected), scrapes, reading.windows, what),
                    rises(selected, scrapes, reading.windows, what),
                    rises(
                        series_of(found, bad, names),
                        both,
                        reading.windows,
                        f"{bad.metric} of {name_of(bad, names)}",
                    ),
                    strict=True,
                )
            ]

        text = f"{reading.selector_of_both(bad)} of {reading.selector_of_both(total)}"
        return _answer(reading, scrapes, numbers, text)

    def read_latency(self, histogram: Selector, bound: float, reading: Reading) -> WindowAnswer:
        """Bad are the requests above the bound; it is compared with edges to three digits."""
        found = self._select(histogram, reading)
        if self._of_part and _is_too_much(found):
            return self._of_part.read_latency(histogram, bound, reading.part())
        if isinstance(found, Unmeasured):
            return _without_numbers(found, reading)
        if any("le" not in each.labels for each in found.series):
            return other_labels(histogram, found.series[0].labels, "le")
        edges = common_edges(found.series)
        if isinstance(edges, Unmeasured):
            return edges
        if math.inf not in edges:
            why = f"{histogram.metric} has no bucket +Inf, which counts all requests"
            return Unmeasured("edge", why)
        edge = edge_at(edges, bound)
        if edge is None:
            why = f"{histogram.metric} {no_edge(bound, edges)}"
            return Unmeasured("edge", why)
        scrapes = Scrapes(found.series, reading.windows)

        def numbers(names: Names) -> Numbers:
            selected = series_of(found, histogram, names)
            what = f"{histogram.metric} of {name_of(histogram, names)}"
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
            reading, scrapes, numbers, f"{reading.selector_of_both(histogram)} above {edge:g} s"
        )

    def read_values(self, text: str, reading: Reading) -> WindowAnswer:
        """The value of a query at each window's end."""
        names = asdict(reading.candidate)
        query = NAME_IN_QUERY.sub(lambda found: str(names[found[1]]), text)
        delay = min(DELAY_SECONDS, reading.windows.seconds)
        ends = [end for end in reading.windows.edges[1:] if end + delay <= reading.now]
        if not ends:
            return delayed(reading.windows.edges[1] + delay)
        first, last = moment_of(ends[0]), moment_of(ends[-1])
        found = self._promql.query_range(query, first, last, reading.windows.seconds)
        if isinstance(found, Unmeasured):
            return found
        values = [value_at(found.series, end, query) for end in ends]
        windows = tuple(
            WindowMeasured(moment_of(start), moment_of(end), value)
            for (start, end), value in zip(pairwise(reading.windows.edges), values, strict=False)
        )
        return measurements.Windows(windows, query)

    def _select(self, selector: Selector, reading: Reading) -> SeriesFound | Unmeasured:
        """The series of a selector that must have some, with the label that names the release."""
        if lack := reading.same_names(selector):
            return lack
        found = self._promql.query(
            reading.range_selector(selector), moment_of(reading.end), is_finite=False
        )
        if isinstance(found, Unmeasured):
            return found
        if not found.series:
            return missing(self._promql, selector)
        return reading.contradiction(found, selector) or found

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


def _is_too_much(found: SeriesFound | Unmeasured) -> bool:
    """Whether fewer windows may have an answer, as after an hour without the source."""
    return isinstance(found, Unmeasured) and found.kind in ("partial", "timeout")


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
        return delayed(reading.windows.edges[1] + scrapes.delay)
    candidate = numbers(reading.candidate)[:complete]
    baseline: Sequence[Counts | Unmeasured | None] = [None] * complete
    if reading.baseline:
        baseline = numbers(reading.baseline)
    windows = zip(pairwise(reading.windows.edges), candidate, baseline, strict=False)
    return measurements.Windows(
        tuple(
            WindowMeasured(moment_of(start), moment_of(end), ours, theirs)
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
        return delayed(reading.windows.edges[1] + scrapes.delay)
    baseline = lack if reading.baseline else None
    spans = list(pairwise(reading.windows.edges))[:complete]
    return measurements.Windows(
        tuple(
            WindowMeasured(moment_of(start), moment_of(end), lack, baseline) for start, end in spans
        ),
        "",
    )


def _too_short(scrapes: Scrapes, windows: Windows) -> Unmeasured | None:
    """Why no window can be compared: most of them would contain no scrape."""
    if scrapes.interval is None or scrapes.interval <= windows.seconds * (1 + JITTER):
        return None
    interval = f"{scrapes.interval:.3g} s"
    why = f"the metrics are scraped each {interval}; give window_seconds of no less"
    return Unmeasured("no-source", why)
