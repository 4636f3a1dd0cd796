"""Which series and windows a query reads at once, and what no source can answer to that. Pure.

Used by `counters.py` beside this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from infra.metrics.port import Names, Series, SeriesFound
from infra.metrics.windows import MOST_DELAY_SECONDS, Windows
from rollout.deferred import dataclass
from rollout.measurements import Delayed, GateQuery, Unmeasured
from rollout.spec.selectors import Selector

PARTS = 8
"""If the samples of all windows are too much for one answer, so small a part of them is read."""
SHORTEST_LOOKBACK_SECONDS, LONGEST_LOOKBACK_SECONDS = 60.0, 600.0
LOOKBACK_WINDOWS = 3
"""How long before the first window its counters may have been scraped last."""
SLACK_SECONDS = 1.0
"""The time of a query is rounded."""


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

    def selector_of_both(self, selector: Selector) -> str:
        both = (self.candidate, self.baseline) if self.baseline else (self.candidate,)
        return selector.with_names(name_of(selector, each) for each in both)

    def range_selector(self, selector: Selector) -> str:
        return f"{self.selector_of_both(selector)}[{math.ceil(self.end - self.start)}s]"

    def same_names(self, selector: Selector) -> Unmeasured | None:
        """Why the releases cannot be told apart by this selector."""
        if self.baseline is None:
            return None
        names = name_of(selector, self.candidate), name_of(selector, self.baseline)
        if names[0] != names[1]:
            return None
        why = f"{selector.label} is {names[0]} for both releases, which cannot be told apart"
        return Unmeasured("labels", f"{selector.metric}: {why}")

    def contradiction(self, found: SeriesFound, selector: Selector) -> Unmeasured | None:
        """What no Prometheus answers about counters in this time."""
        start, end = self.start - SLACK_SECONDS, self.end + SLACK_SECONDS
        if why := contradiction(found.series, start, end):
            return Unmeasured("unreadable", f"{selector.metric}: {why}")
        without = (each for each in found.series if selector.label not in each.labels)
        return next((other_labels(selector, each.labels, selector.label) for each in without), None)


def reading_of(query: GateQuery, candidate: Names, baseline: Names | None) -> Reading:
    start, until, seconds = query.since.timestamp(), query.until.timestamp(), query.window_seconds
    count = max(1, round((until - start) / seconds))
    edges = tuple(start + seconds * number for number in range(count + 1))
    return Reading(Windows(edges), query.now.timestamp(), candidate, baseline)


def name_of(selector: Selector, names: Names) -> str:
    return str(getattr(names, selector.placeholder[1:-1]))  # $releases: names.release


def series_of(found: SeriesFound, selector: Selector, names: Names) -> list[Series]:
    """Those of one release."""
    name = name_of(selector, names)
    return [each for each in found.series if each.labels.get(selector.label) == name]


def other_labels(selector: Selector, labels: Iterable[str], lacking: str) -> Unmeasured:
    found = ", ".join(sorted(set(labels) - {"__name__"}))
    return Unmeasured("labels", f"{selector.metric} has no label {lacking}, but {found}")


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


# ---- Answers


def delayed(until: float) -> Delayed:
    moment = moment_of(until)
    return Delayed(moment, f"the data of the next window arrive by {moment:%H:%M:%SZ}")


def value_at(series: Sequence[Series], moment: float, query: str) -> float | Unmeasured:
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


def moment_of(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
