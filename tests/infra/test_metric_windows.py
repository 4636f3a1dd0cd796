"""Splitting raw samples of counters into windows: nothing is lost, doubled or made up."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.metrics.port import Series
from infra.metrics.windows import Scrapes, Windows, complete_windows, lacks, rises, target_of
from rollout.measurements import Unmeasured

HOUR = 1_767_268_800.0  # 12:00:00Z
WINDOWS = Windows(tuple(HOUR + 60 * number for number in range(5)))


def series(*samples: tuple[float, float], instance: str = "a:80", **labels: str) -> Series:
    """Samples as (seconds after 12:00, value)."""
    moved = tuple((HOUR + moment, float(value)) for moment, value in samples)
    return Series({"job": "lb", "instance": instance, **labels}, moved)


def steady(rate: float, start: float, end: float, every: float = 10, **labels: str) -> Series:
    """A counter that rises by `rate` a second."""
    times = [start + every * number for number in range(round((end - start) / every) + 1)]
    return series(*((time, rate * (time - start)) for time in times), **labels)


def split(*found: Series, among: tuple[Series, ...] = ()) -> list[float | str]:
    """The rise in each window, or the kind of what lacks."""
    answers = rises(found, Scrapes((*found, *among), WINDOWS), WINDOWS, "it")
    return [each.kind if isinstance(each, Unmeasured) else each for each in answers]


@given(
    moments=st.lists(st.integers(-3000, 3000), min_size=2, max_size=60, unique=True),
    seed=st.integers(0, 1000),
    length=st.sampled_from((1, 7, 30)),
)
def test_windows_add_up_to_exactly_what_a_counter_rose_by(
    moments: list[int], seed: int, length: int
) -> None:
    chance = random.Random(seed)
    times, value, samples = sorted(moment / 10 for moment in moments), 0, []
    for time in times:
        value += chance.randint(0, 1000)
        samples.append((HOUR + time, float(value)))
    first, last = HOUR + int(times[0]) - 1, HOUR + int(times[-1]) + 1
    count = int((last - first) // length) + 1
    windows = Windows(tuple(first + length * number for number in range(count + 1)))
    found = Series({"job": "lb"}, tuple(samples))
    # A gap belongs to no window, so nothing is one here.
    scrapes = Scrapes((found,), windows)
    scrapes.__dict__["longest"] = 1e9
    answers = rises((found,), scrapes, windows, "it")
    assert sum(each for each in answers if not isinstance(each, Unmeasured)) == (
        samples[-1][1] - samples[0][1]
    )
    for (start, end), answer in zip(pairwise(windows.edges), answers, strict=True):
        before = [value for moment, value in samples if moment <= start] or [samples[0][1]]
        until = [value for moment, value in samples if moment <= end] or [samples[0][1]]
        assert answer == until[-1] - before[-1]


@given(offset=st.floats(0, 9.99), seed=st.integers(0, 1000))
def test_a_window_is_the_same_whenever_it_is_read(offset: float, seed: int) -> None:
    """Read alone with what was there by then, and later among others."""
    chance, value, samples = random.Random(seed), 0, []
    for number in range(-6, 30):
        value += chance.randint(0, 50)
        samples.append((HOUR + offset + 10 * number, float(value)))
    whole = Series({"job": "lb"}, tuple(samples))
    together = rises((whole,), Scrapes((whole,), WINDOWS), WINDOWS, "it")
    for number, (start, end) in enumerate(pairwise(WINDOWS.edges)):
        by_then = Series({"job": "lb"}, tuple(each for each in samples if each[0] <= end + 20))
        alone = Windows((start, end))
        assert rises((by_then,), Scrapes((by_then,), alone), alone, "it") == [together[number]]


def test_a_rise_belongs_to_the_window_in_which_it_was_first_scraped() -> None:
    assert split(series((-5, 100), (55, 160), (65, 180), (125, 240), (185, 240))) == [60, 20, 60, 0]


def test_an_error_counter_that_is_created_at_its_first_error_counts_from_0() -> None:
    requests = steady(10, -60, 240, code="200")
    assert split(series((75, 3), (85, 5), (95, 5), code="500"), among=(requests,)) == [0, 5, 0, 0]


def test_a_target_that_appears_counts_from_its_first_sample() -> None:
    """It may have run for long before somebody scraped it."""
    other = steady(10, -60, 240, instance="b:80")
    came_late = steady(1, -10_000, 240, instance="a:80")
    late = Series(
        came_late.labels, tuple(each for each in came_late.samples if each[0] > HOUR + 65)
    )
    assert split(late, among=(other,)) == [0, 50, 60, 60]


def test_a_counter_that_begins_anew_is_no_number_in_that_window_only() -> None:
    found = series(*((10 * n, 100 + n) for n in range(9)), *((10 * n, n) for n in range(9, 25)))
    assert split(found) == [6, "reset", 6, 6]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_no_number_spoils_the_windows_that_need_it(value: float) -> None:
    found = steady(1, 0, 240)
    samples = tuple((at, value if at == HOUR + 120 else each) for at, each in found.samples)
    assert split(Series(found.labels, samples)) == [60, "not-finite", "not-finite", 60]


def test_what_rose_during_a_gap_over_an_edge_belongs_to_no_window() -> None:
    found = steady(1, 0, 240)
    gap = tuple(each for each in found.samples if not HOUR + 90 < each[0] < HOUR + 150)
    assert split(Series(found.labels, gap)) == [60, "partial", "partial", 60]
    within = tuple(each for each in found.samples if not HOUR + 70 < each[0] < HOUR + 110)
    assert split(Series(found.labels, within)) == [60, 60, 60, 60]
    short = tuple(each for each in found.samples if not HOUR + 110 < each[0] < HOUR + 130)
    assert split(Series(found.labels, short)) == [60, 50, 70, 60]


def kinds_of_lacks(*found: Series, among: tuple[Series, ...] = ()) -> list[str]:
    scrapes = Scrapes((*found, *among), WINDOWS)
    answers = lacks(map(target_of, found), scrapes, WINDOWS, "it")
    return [each.kind if each else "" for each in answers]


def test_a_window_without_samples_at_its_end_is_no_window_of_zero_requests() -> None:
    other = steady(1, -60, 240, instance="b:80")
    assert kinds_of_lacks(steady(1, -60, 90), among=(other,)) == ["", "", "partial", "partial"]
    assert kinds_of_lacks(steady(1, 130, 240), among=(other,)) == ["no-series"] * 2 + ["", ""]
    assert kinds_of_lacks(among=(other,)) == ["no-series"] * 4


def test_an_instance_that_is_gone_takes_nothing_from_the_others() -> None:
    gone, stays = steady(1, -60, 90, instance="a:80"), steady(1, -60, 240, instance="b:80")
    assert kinds_of_lacks(gone, stays) == [""] * 4
    assert split(gone, stays) == [120, 90, 60, 60]


def test_a_release_of_a_proxy_has_no_requests_before_its_first_one() -> None:
    """The proxy was scraped, so there were none; a counter by release is created by its first."""
    other = steady(1, -60, 240, release="old")
    new = Series({**other.labels, "release": "new"}, ((HOUR + 130, 7.0), (HOUR + 140, 9.0)))
    assert kinds_of_lacks(new, among=(other,)) == [""] * 4
    assert split(new, among=(other,)) == [0, 0, 9, 0]


def test_a_window_is_complete_once_all_targets_were_scraped_after_it() -> None:
    def complete(now: float, *found: Series) -> int:
        return complete_windows(Scrapes(found, WINDOWS), WINDOWS, HOUR + now)

    both = steady(1, -60, 125), steady(1, -60, 120, instance="b:80")
    assert complete(121, steady(1, -60, 120), *both[1:]) == 1
    assert complete(140, steady(1, -60, 120), *both[1:]) == 2, "nobody scrapes them any more"
    assert complete(121, steady(1, -65, 125), steady(1, -63, 127, instance="b:80")) == 2
    assert complete(59, steady(1, -60, 50)) == 0
    assert complete(121) == 1, "without any sample: once they can have arrived"


@dataclass
class Instance:
    """An instance that counts since it was born, and is scraped now and then."""

    born: float
    dies: float
    requests: list[tuple[float, bool]]
    scrapes: list[float]

    def series(self, name: str) -> list[Series]:
        """All requests, and the bad ones: that counter is created with the first of them."""
        moments = [moment for moment in self.scrapes if self.born <= moment < self.dies]
        found = []
        for kind in ("all", "bad"):
            counted = [at for at, is_bad in self.requests if is_bad or kind == "all"]
            values = [(moment, bisect_right(counted, moment)) for moment in moments]
            samples = [each for each in values if each[1] or kind == "all"]
            if samples:
                found.append(series(*samples, instance=name, kind=kind))
        return found


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    """Scraped each 10 s with jitter, except for some scrapes that are lost."""
    born, dies = draw(st.integers(-400, 100)), draw(st.integers(120, 500))
    chance = random.Random(draw(st.integers(0, 10_000)))
    offset, loss = chance.uniform(0, 10), draw(st.sampled_from((0.0, 0.1, 0.5)))
    scrapes = [
        offset + 10 * number + chance.uniform(-1, 1)
        for number in range(-40, 50)
        if chance.random() >= loss
    ]
    share = chance.choice((0.0, 0.01, 0.3))
    requests = sorted(
        (chance.uniform(born, dies), chance.random() < share) for _ in range(chance.randint(0, 400))
    )
    return Instance(born, dies, requests, scrapes)


@given(fleet=st.lists(instances(), min_size=1, max_size=4))
def test_no_request_is_counted_twice_or_made_up_whatever_scrapes_are_lost(
    fleet: list[Instance],
) -> None:
    found = [each for n, one in enumerate(fleet) for each in one.series(f"{n}")]
    scrapes = Scrapes(found, WINDOWS)
    for kind in ("all", "bad"):
        selected = [each for each in found if each.labels["kind"] == kind]
        answers = rises(selected, scrapes, WINDOWS, "it")
        times = [at for one in fleet for at, is_bad in one.requests if is_bad or kind == "all"]
        total = 0.0
        for (start, end), answer in zip(pairwise(WINDOWS.edges), answers, strict=True):
            if isinstance(answer, Unmeasured):
                assert answer.kind == "partial"
                continue
            total += answer
            earliest = start - HOUR - scrapes.longest
            assert answer <= sum(earliest < at <= end - HOUR for at in times)
        assert total <= sum(-scrapes.longest < at <= 240 for at in times)
