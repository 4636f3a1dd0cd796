"""The evidence of gates: golden numbers, properties, and how often it convicts the innocent."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.gates.statistics import (
    RATIOS,
    UNSEEN,
    Dispersion,
    Tally,
    Window,
    add,
    add_dispersion,
    burn_rate,
    factor,
    log_evidence_against,
    log_evidence_against_now,
    log_evidence_below,
    log_evidence_for,
    next_step,
)

HARMFUL = 2.0
COUNT = st.integers(0, 10**12)


def tally(windows: Iterable[Window], harmful: float = HARMFUL) -> Tally:
    total = Tally()
    for window in windows:
        total = add(total, window, harmful)
    return total


def dispersion(windows: Iterable[Window]) -> Dispersion:
    total = Dispersion()
    for window in windows:
        total = add_dispersion(total, window)
    return total


def poisson(rng: random.Random, mean: float) -> int:
    """Knuth's way: how many exponential gaps fit."""
    count, rest = 0, rng.expovariate(1)
    while rest < mean:
        count, rest = count + 1, rest + rng.expovariate(1)
    return count


@st.composite
def windows(draw: st.DrawFn, largest: int = 10**12) -> Window:
    baseline, candidate = draw(st.integers(0, largest)), draw(st.integers(0, largest))
    return Window(
        draw(st.integers(0, baseline)), baseline, draw(st.integers(0, candidate)), candidate
    )


# ---- Golden numbers


@pytest.mark.parametrize(
    ("window", "evidence"),
    [
        (Window(45, 4500, 15, 1500), "0.195344"),
        (Window(45, 4500, 30, 1500), "17.869357"),
        (Window(45, 4500, 37, 1500), "573.678311"),
        (Window(57, 5700, 9, 300), "13.231796"),
        (Window(0, 5700, 2, 300), "13.275902"),
        (Window(0, 5700, 3, 300), "72.094432"),
    ],
)
def test_evidence_has_its_golden_value(window: Window, evidence: str) -> None:
    assert f"{math.exp(log_evidence_against(tally([window]))):.6f}" == evidence


@pytest.mark.parametrize("hypothesis", [1.0, 2.0, 5.0])
@pytest.mark.parametrize(("baseline", "candidate"), [(5700, 300), (1, 1), (10, 90)])
def test_evidence_is_expected_to_be_one_at_the_hypothesis(
    hypothesis: float, baseline: int, candidate: int
) -> None:
    """Exactly: over all ways in which 40 bad events fall on both sides."""
    bad = 40
    exposure = hypothesis * candidate
    q = exposure / (exposure + baseline)
    against = in_favour = 0.0
    for share in range(bad + 1):
        window = Window(bad - share, baseline, share, candidate)
        probability = math.comb(bad, share) * q**share * (1 - q) ** (bad - share)
        evidence = add(Tally(), window, hypothesis, tolerated_ratio=hypothesis)
        against += probability * math.exp(log_evidence_against(evidence))
        in_favour += probability * math.exp(log_evidence_for(evidence))
    assert against == pytest.approx(1, rel=1e-9)
    assert in_favour == pytest.approx(1, rel=1e-9)


def test_evidence_that_begins_in_any_window_is_expected_to_be_one_at_most() -> None:
    """Exactly: over all ways in which the bad events of three windows fall on both sides. It is one
    if no window adds more than one may.
    """
    expected = []
    for bad in (2, 12):
        shares = [(c, math.comb(bad, c) * 0.05**c * 0.95 ** (bad - c)) for c in range(bad + 1)]
        total = 0.0
        for ways in product(shares, repeat=3):
            evidence = tally(Window(bad - c, 5700, c, 300) for c, _ in ways)
            total += math.prod(p for _, p in ways) * math.exp(log_evidence_against_now(evidence))
        expected.append(total)
    assert expected[0] == pytest.approx(1, rel=1e-9)
    assert expected[1] < 1


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 4.0])
def test_frequent_failures_are_no_evidence_either(ratio: float) -> None:
    """Requests that fail one by one, up to 4 in 5 of them, instead of rare events: the evidence
    against a true hypothesis is expected to be at most 1, whatever the tolerated ratio is.
    """
    baseline, candidate, baseline_share = 14, 6, 0.2
    candidate_share = ratio * baseline_share

    def probability(bad: int, of: int, share: float) -> float:
        return math.comb(of, bad) * share**bad * (1 - share) ** (of - bad)

    against = in_favour = below = 0.0
    for b, c in product(range(baseline + 1), range(candidate + 1)):
        window = Window(b, baseline, c, candidate)
        weight = probability(b, baseline, baseline_share)
        weight *= probability(c, candidate, candidate_share)
        evidence = add(Tally(), window, ratio, tolerated_ratio=ratio)
        against += weight * math.exp(log_evidence_against(evidence))
        in_favour += weight * math.exp(log_evidence_for(evidence))
        below += weight * math.exp(log_evidence_below(evidence, candidate_share))
    assert max(against, in_favour, below) <= 1


# ---- Properties


@given(st.lists(windows(), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(sample: list[Window], rng: random.Random) -> None:
    shuffled = rng.sample(sample, len(sample))
    one, other = tally(sample), tally(shuffled)
    assert one.windows == other.windows
    assert log_evidence_against(one) == pytest.approx(log_evidence_against(other), rel=1e-6)
    assert log_evidence_for(one) == pytest.approx(log_evidence_for(other), rel=1e-6)
    assert factor(dispersion(sample)) == pytest.approx(factor(dispersion(shuffled)), rel=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 100)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 50),
)
def test_splitting_a_window_does_not_change_the_evidence(
    parts: list[tuple[int, int, int]], weight: int
) -> None:
    """With a constant weight, only the sums count."""
    split = [Window(b, (100 - weight) * n, c, weight * n) for b, c, n in parts]
    whole = Window(
        sum(each.baseline_bad for each in split),
        sum(each.baseline_total for each in split),
        sum(each.candidate_bad for each in split),
        sum(each.candidate_total for each in split),
    )
    one, other = tally(split), tally([whole])
    for evidence in (log_evidence_against, log_evidence_for):
        assert evidence(one) == pytest.approx(evidence(other), rel=1e-9, abs=1e-9)
    assert log_evidence_below(one, 0.01) == pytest.approx(log_evidence_below(other, 0.01))


@given(st.lists(windows(), max_size=4), COUNT, COUNT)
def test_a_window_in_which_nothing_can_be_compared_is_no_evidence(
    before: list[Window], bad: int, total: int
) -> None:
    one = tally(before)
    for nothing in (Window(0, total, 0, total), Window(bad, total, 0, 0), Window(0, 0, bad, total)):
        both = add(one, nothing, HARMFUL)
        assert both.against == one.against
        assert both.in_favour == one.in_favour
        assert add_dispersion(dispersion(before), nothing) == dispersion(before)


@given(windows(largest=10**6), st.integers(1, 10**6))
def test_more_bad_events_of_the_candidate_are_more_evidence_against_it(
    window: Window, more: int
) -> None:
    worse = Window(
        window.baseline_bad,
        window.baseline_total,
        window.candidate_bad + more,
        window.candidate_total + more,
    )
    same_size = Window(
        window.baseline_bad,
        window.baseline_total,
        window.candidate_bad,
        window.candidate_total + more,
    )
    if not window.baseline_total:
        return
    one, other = tally([same_size]), tally([worse])
    assert log_evidence_against(other) >= log_evidence_against(one)
    assert log_evidence_for(other) <= log_evidence_for(one)
    assert log_evidence_below(other, 0.01) < log_evidence_below(one, 0.01)


@given(st.lists(windows(), max_size=6))
def test_evidence_is_finite_at_any_count(sample: list[Window]) -> None:
    total = tally(sample)
    values = (
        log_evidence_against(total),
        log_evidence_for(total),
        log_evidence_below(total, 0.001),
        factor(dispersion(sample)),
    )
    assert all(map(math.isfinite, values))
    assert factor(dispersion(sample)) >= 1


@given(st.lists(windows(largest=10**6), max_size=4))
def test_evidence_in_favour_is_evidence_against_the_other_side(sample: list[Window]) -> None:
    exchanged = [
        Window(each.candidate_bad, each.candidate_total, each.baseline_bad, each.baseline_total)
        for each in sample
    ]
    in_favour = log_evidence_for(tally(sample, harmful=1.0))
    against = log_evidence_against(tally(exchanged))
    assert in_favour == pytest.approx(against, rel=1e-9, abs=1e-6)


def test_no_window_is_evidence_of_nothing() -> None:
    assert log_evidence_against(Tally()) == log_evidence_for(Tally()) == 0
    assert log_evidence_against_now(Tally()) == pytest.approx(0)
    assert log_evidence_below(Tally(), 0.01) == 0
    assert len(Tally().against) == len(RATIOS)


def test_a_candidate_without_errors_surely_stays_below_a_share() -> None:
    """Without errors on either side, 220 requests rule out a share of 2 % at 5 %."""
    few, enough = tally([Window(0, 9000, 0, 200)]), tally([Window(0, 9000, 0, 220)])
    assert log_evidence_below(few, 0.02) < math.log(20) < log_evidence_below(enough, 0.02)
    assert log_evidence_for(enough) == 0


def test_a_window_counts_by_its_own_weight() -> None:
    """The same errors are no surprise where the candidate has a third of the requests."""
    surprising = Window(57, 5700, 9, 300)
    expected = Window(60, 4000, 30, 2000)
    both = log_evidence_against(tally([surprising, expected]))
    assert both < log_evidence_against(tally([surprising]))


def test_a_tally_is_stored_as_plain_numbers() -> None:
    stored = asdict(tally([Window(1, 10, 2, 10)]))
    assert Tally(**stored) == tally([Window(1, 10, 2, 10)])
    assert all(isinstance(each, int | float | tuple) for each in stored.values())


def test_the_ratio_is_that_of_both_shares() -> None:
    assert tally([Window(45, 4500, 37, 1500)]).ratio == pytest.approx(37 / 15)
    assert tally([Window(0, 4500, 37, 1500)]).ratio is None
    assert tally([Window(45, 4500, 0, 0)]).ratio is None


# ---- Bursts


def test_bursts_on_one_side_are_measured_and_those_on_both_are_not() -> None:
    even = [Window(30, 3000, 10, 1000)] * 20
    on_both = [Window(3 * size, 3000, size, 1000) for size in (2, 30)] * 10
    on_one = [Window(30, 3000, size, 1000) for size in (2, 20)] * 10
    assert factor(dispersion(on_both)) == factor(dispersion(even)) == 1
    assert factor(dispersion(on_one)) > 5


def test_a_bad_release_is_not_mistaken_for_a_burst() -> None:
    """A share that is high in all windows does not vary."""
    assert factor(dispersion([Window(30, 3000, 100, 1000)] * 20)) == 1
    assert factor(dispersion([Window(0, 3000, 100, 1000)] * 20)) < 1.7


def test_the_errors_of_a_single_window_hardly_count() -> None:
    """They may be one burst."""
    assert factor(dispersion([Window(0, 5700, 12, 300)])) > 10
    assert factor(dispersion([Window(0, 5700, 0, 300), Window(30, 5700, 0, 300)])) > 10


def test_errors_that_come_one_by_one_are_no_bursts() -> None:
    singles = [Window(1, 5700, 0, 300), Window(0, 5700, 1, 300)] * 2
    assert factor(Dispersion()) == UNSEEN
    assert factor(dispersion(singles[:1])) == 2.5
    assert factor(dispersion(singles)) == factor(next_step(dispersion(singles))) == 1.6
    assert factor(dispersion([*singles, Window(0, 5700, 12, 300)])) > 3


def test_a_step_with_another_weight_is_no_burst() -> None:
    first = dispersion([Window(95, 9500, 5, 500)] * 10)
    kept = next_step(first)
    for _ in range(10):
        kept = add_dispersion(kept, Window(50, 5000, 50, 5000))
    mixed = first
    for _ in range(10):
        mixed = add_dispersion(mixed, Window(50, 5000, 50, 5000))
    assert factor(kept) == 1
    assert factor(mixed) > 3


def test_what_a_rollout_has_learnt_of_bursts_holds_for_its_next_step() -> None:
    bursts = dispersion([Window(30, 3000, size, 1000) for size in (2, 20)] * 10)
    assert factor(next_step(bursts)) == pytest.approx(factor(bursts))
    assert next_step(next_step(bursts)) == next_step(bursts)


# ---- A release that goes bad late


@pytest.mark.parametrize("good", [0, 10, 60, 4320])
@pytest.mark.parametrize(("errors", "most"), [(9, 18), (15, 9), (60, 8)])
def test_good_windows_do_not_outweigh_bad_ones_for_long(good: int, errors: int, most: int) -> None:
    """Three days of good minutes at most, then three, five or twenty times the errors."""
    total, number = tally([Window(57, 5700, 3, 300)] * good), 0
    while log_evidence_against_now(total) < math.log(800):
        total, number = add(total, Window(57, 5700, errors, 300), HARMFUL), number + 1
    assert (4 if good == 4320 else 1) <= number <= most  # one bad minute is a burst


def test_evidence_from_the_first_window_on_counts_almost_in_full() -> None:
    for windows in (1, 5, 20):
        total = tally([Window(57, 5700, 15, 300)] * windows)
        lost = log_evidence_against(total) - log_evidence_against_now(total)
        assert 0 < lost < 0.11


# ---- False alarms, simulated


def releases(number: int, seed: int, ratio: float, burst: int = 1) -> Iterator[list[Window]]:
    """40 windows each of 2,000 requests, a quarter to the candidate; 2 % fail, `burst` at once."""
    rng = random.Random(seed)
    for _ in range(number):
        yield [
            Window(
                burst * poisson(rng, 30 / burst),
                1500,
                burst * poisson(rng, 10 * ratio / burst),
                500,
            )
            for _ in range(40)
        ]


def alarms(release: list[Window], alpha: float, *, is_divided: bool = False) -> int | None:
    """The window that convicts a release, if one does."""
    total, spread = Tally(), Dispersion()
    for number, window in enumerate(release, 1):
        total, spread = add(total, window, HARMFUL), add_dispersion(spread, window)
        log = log_evidence_against(total)
        if (log / factor(spread) if is_divided else log) >= math.log(1 / alpha):
            return number
    return None


def test_few_good_releases_are_convicted_although_each_window_is_judged() -> None:
    convicted = [alarms(each, 0.05) for each in releases(300, seed=1, ratio=1.0)]
    assert 0 < sum(map(bool, convicted)) <= 0.05 * 300


def test_hardly_any_harmful_release_passes_although_each_window_is_judged() -> None:
    passed = 0
    for release in releases(300, seed=2, ratio=HARMFUL):
        total = Tally()
        for window in release:
            total = add(total, window, HARMFUL)
            if log_evidence_for(total) >= math.log(1 / 0.05):
                passed += 1
                break
    assert 0 < passed <= 0.05 * 300


def test_bursts_convict_few_good_releases_once_the_dispersion_divides_the_evidence() -> None:
    """Failures that come by four. The last release shows what the rule costs without bursts."""
    good = list(releases(200, seed=3, ratio=1.0, burst=4))
    assert sum(bool(alarms(each, 0.01)) for each in good) > 0.1 * len(good)
    assert sum(bool(alarms(each, 0.01, is_divided=True)) for each in good) <= 0.01 * len(good)
    [bad] = releases(1, seed=4, ratio=2.0)
    plain, divided = alarms(bad, 0.01), alarms(bad, 0.01, is_divided=True)
    assert plain is not None
    assert divided is not None
    assert plain <= divided <= plain + 4


WEIGHTS = (1, 5, 25, 50)
"""In percent, for ten windows each. 100 requests a second, 1 % of which fail."""


def bursty(rng: random.Random, mean: float, dispersion: float, spans: int) -> Iterator[int]:
    """Counts whose mean varies like a gamma distribution, and stays so for some windows."""
    while True:
        level = rng.gammavariate(mean / (dispersion - 1), dispersion - 1)
        for _ in range(spans):
            yield poisson(rng, level)


def is_rolled_back(rng: random.Random, spans: int) -> bool:
    spread = Dispersion()
    for weight in WEIGHTS:
        total, spread = Tally(), next_step(spread)
        requests = 60 * weight
        baseline = bursty(rng, (6000 - requests) / 100, 4, spans)
        candidate = bursty(rng, requests / 100, 4, spans)
        for number in range(10):
            window = Window(next(baseline), 6000 - requests, next(candidate), requests)
            total, spread = add(total, window, HARMFUL), add_dispersion(spread, window)
            is_enough = number >= 2 and total.baseline_bad + total.candidate_bad >= 10
            log = log_evidence_against_now(total) / factor(spread)
            if is_enough and log >= math.log(len(WEIGHTS) / 0.01):
                return True
    return False


@pytest.mark.wide
def test_bursts_that_end_within_a_window_roll_few_good_releases_back() -> None:
    """Of 1,000 good releases whose errors come in bursts of dispersion 4, on each side alone. Of
    bursts that last for three windows the rule says too little, as docs/gates.md warns.
    """
    rng = random.Random(1)
    assert sum(is_rolled_back(rng, 1) for _ in range(1000)) <= 10
    assert sum(is_rolled_back(rng, 3) for _ in range(1000)) > 100


# ---- Error budgets


def test_a_burn_rate_is_a_share_by_the_share_that_is_allowed() -> None:
    assert burn_rate(144, 10_000, 0.001) == pytest.approx(14.4)
    assert burn_rate(0, 10_000, 0.001) == 0
    assert burn_rate(0, 0, 0.001) == 0
