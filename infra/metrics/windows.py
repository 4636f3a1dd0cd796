"""Splits the raw samples of counters into windows. Pure.

A rise belongs to the window in which it was first scraped: the rise in the window (t0, t1] is the
last sample up to t1 minus the last one up to t0. So the windows of a counter add up to exactly what
it rose by, whenever it was scraped. Three rules say what is no number:

- A series that appears counts from 0 if its target was scraped without it shortly before: a counter
  of errors is created at the first error. Otherwise it counts from its first sample, since it may
  have begun long before. So does one without a label `instance`, whose target nobody knows, and one
  that appears as another one of its target ends: that one may have got other labels.
- A rise over a gap in the scrapes that reaches over the edge of a window belongs to no window.
- A counter that falls began anew: nobody knows how far it had come.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from statistics import median

from infra.metrics.port import Series
from rollout.deferred import dataclass
from rollout.measurements import Unmeasured

LOST_SCRAPES = 3
"""So many intervals without a sample are a gap, unless half a window is longer."""
DELAY_SECONDS = 30.0
"""By when a sample has arrived if nobody knows how often a target is scraped."""
MOST_DELAY_SECONDS = 120.0

Target = tuple[str, str]
Sample = tuple[float, float]


def target_of(series: Series) -> Target:
    """What was scraped: Prometheus gives all series of one scrape these two labels."""
    return series.labels.get("job", ""), series.labels.get("instance", "")


@dataclass(frozen=True)
class Windows:
    """The windows between each two `edges`, in Unix seconds; each includes its end."""

    edges: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    @property
    def seconds(self) -> float:
        return self.edges[1] - self.edges[0]

    def containing(self, moment: float) -> int | None:
        index = bisect_left(self.edges, moment) - 1
        return index if 0 <= index < self.count else None

    def across(self, start: float, end: float) -> range:
        """The windows that a gap takes part of, unless it lies in a single one."""
        if not any(start < edge < end for edge in self.edges):
            return range(0)
        first, last = bisect_right(self.edges, start) - 1, bisect_left(self.edges, end)
        return range(max(0, first), min(self.count, last))


class Scrapes:
    """When each target was scraped, as all the series of a query show it."""

    def __init__(self, series: Iterable[Series], windows: Windows) -> None:
        moments: dict[Target, set[float]] = defaultdict(set)
        ends: dict[Target, set[float]] = defaultdict(set)
        for each in series:
            moments[target_of(each)].update(moment for moment, _ in each.samples)
            ends[target_of(each)].update(moment for moment, _ in each.samples[-1:])
        self._moments = {target: sorted(each) for target, each in moments.items() if each}
        self._ends = ends
        self._windows = windows

    @cached_property
    def interval(self) -> float | None:
        """The median time between two scrapes of a target."""
        found = [
            after - before
            for moments in self._moments.values()
            for before, after in pairwise(moments)
        ]
        return median(found) if found else None

    @cached_property
    def longest(self) -> float:
        """What is longer between two samples is a gap."""
        half = self._windows.seconds / 2
        return max(LOST_SCRAPES * self.interval, half) if self.interval else half

    @property
    def delay(self) -> float:
        """How long after its end a window is complete though a target was scraped no more."""
        if self.interval is None:
            return min(DELAY_SECONDS, self._windows.seconds)
        return min(2 * self.interval, MOST_DELAY_SECONDS)

    def last(self, target: Target, moment: float) -> float | None:
        """When the target was last scraped until then."""
        moments = self._moments.get(target, [])
        index = bisect_right(moments, moment)
        return moments[index - 1] if index else None

    def created(self, target: Target, moment: float) -> bool:
        """Whether a series whose first sample is of this moment began between two scrapes: its
        target was scraped without it shortly before, and lost no other series since.
        """
        moments, (_, instance) = self._moments.get(target, []), target
        index = bisect_left(moments, moment)
        if not instance or index == 0 or moment - moments[index - 1] > self.longest:
            return False
        return moments[index - 1] not in self._ends[target]

    def has_passed(self, moment: float) -> bool:
        """Whether each target that was scraped shortly before was scraped after that, too."""
        before = [
            each
            for each in self._moments
            if (last := self.last(each, moment)) is not None and moment - last <= self.longest
        ]
        return bool(before) and all(self._moments[each][-1] > moment for each in before)


def complete_windows(scrapes: Scrapes, windows: Windows, now: float) -> int:
    """How many windows have all their data, without a gap from the first one on."""
    for number, end in enumerate(windows.edges[1:]):
        if now < end + scrapes.delay and not scrapes.has_passed(end):
            return number
    return windows.count


def lacks(
    targets: Iterable[Target], scrapes: Scrapes, windows: Windows, what: str
) -> list[Unmeasured | None]:
    """Why a window has no data of these targets. What one of them lost is no lack."""
    expected = tuple(targets)
    found: list[Unmeasured | None] = []
    for end in windows.edges[1:]:
        last = max(
            (each for t in expected if (each := scrapes.last(t, end)) is not None), default=None
        )
        if last is None:
            found.append(Unmeasured("no-series", f"no series of {what} until {_clock(end)}"))
        elif end - last > scrapes.longest:
            why = f"no sample of {what} between {_clock(last)} and {_clock(end)}"
            found.append(Unmeasured("partial", why))
        else:
            found.append(None)
    return found


def rises(
    series: Iterable[Series], scrapes: Scrapes, windows: Windows, what: str
) -> list[float | Unmeasured]:
    """By how much these counters rose in each window, all together."""
    sums: list[list[float]] = [[] for _ in range(windows.count)]
    wrong: dict[int, Unmeasured] = {}
    for each in series:
        for before, after in _pairs(each, scrapes):
            index = windows.containing(after[0])
            if lack := _lack(before, after, what):
                if index is not None:
                    wrong.setdefault(index, lack)
                continue
            if after[0] - before[0] > scrapes.longest:
                for number in windows.across(before[0], after[0]):
                    why = f"no sample of {what} from {_clock(before[0])} to {_clock(after[0])}"
                    wrong.setdefault(number, Unmeasured("partial", why))
            if index is not None:
                sums[index].append(after[1] - before[1])
    return [wrong.get(number) or _sum(each, what) for number, each in enumerate(sums)]


def _pairs(series: Series, scrapes: Scrapes) -> Iterator[tuple[Sample, Sample]]:
    """Each two samples in a row; a counter that was created between two scrapes begins at 0."""
    samples = series.samples
    if samples and scrapes.created(target_of(series), samples[0][0]):
        yield (samples[0][0], 0.0), samples[0]
    yield from pairwise(samples)


def _lack(before: Sample, after: Sample, what: str) -> Unmeasured | None:
    if not math.isfinite(before[1]) or not math.isfinite(after[1]):
        return Unmeasured("not-finite", f"NaN or an infinity among the samples of {what}")
    if after[1] < 0:
        return Unmeasured("unreadable", f"a counter of {what} is negative")
    if after[1] < before[1]:
        return Unmeasured("reset", f"a counter of {what} began anew at {_clock(after[0])}")
    return None


def _sum(numbers: Sequence[float], what: str) -> float | Unmeasured:
    total = sum(numbers)
    return total if math.isfinite(total) else Unmeasured("not-finite", f"{what} is no number")


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%SZ}"
