"""Releases that have all requests: when they burn their error budget, and how sure that is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.gates.burn import (
    LONG,
    Budget,
    History,
    Pair,
    add_history,
    budget_of,
    limits,
    log_evidence_above,
    measure,
)
from rollout.gates.record import GateRecord
from rollout.gates.statistics import RATIOS
from rollout.gates.windows import Question, judge_answer
from rollout.measurements import Counts, Unmeasured, WindowMeasured, Windows
from rollout.spec.gates import HARMFUL_RATIO, Analysis, Gate
from tests.rollout.build import at

ALPHA = 0.005
"""For one gate, with the default `analysis.alpha`."""
HISTORY = History(30, 300, 30_000, 3.0)
"""30 windows of 1,000 requests, of which 10 were bad in each."""


def question(analysis: Analysis | None = None, **gate: Any) -> Question:
    return Question(Gate(**gate), analysis or Analysis(), 2, at(0), 0.01, ALPHA, 2.0, 0.001, "4")


def alone(history: History = HISTORY, **fields: Any) -> GateRecord:
    """A release that has had all requests since noon."""
    return GateRecord("errors", history=history, full_since=at(0), **fields)


def windows(pairs: Sequence[Pair], since: int = 0) -> Windows:
    found = (
        WindowMeasured(at(60 * minute), at(60 * minute + 60), Counts(*pair), None)
        for minute, pair in enumerate(pairs, since)
    )
    return Windows(tuple(found), "requests_total")


def record_of(
    pairs: Sequence[Pair], history: History = HISTORY, analysis: Analysis | None = None, **gate: Any
) -> GateRecord:
    return judge_answer(alone(history), question(analysis, **gate), windows(pairs), at(0))


HALF, GOOD, DOUBLE, WORSE = (5.0, 1000.0), (10.0, 1000.0), (20.0, 1000.0), (50.0, 1000.0)


# ---- The verdict


def test_a_release_that_is_as_good_as_the_one_before_passes() -> None:
    record = record_of([GOOD] * 10)
    assert (record.verdict, record.step, record.recent) == ("pass", 2, (GOOD,) * 10)
    assert record.why.startswith(
        "errors: 100 of 10,000 with all requests; burns the budget of 1 % (release 4) 1 times as"
        " fast as allowed, and 1 times over 10 windows (evidence"
    )


def test_a_release_that_burns_the_budget_fails() -> None:
    record = record_of([WORSE] * 3)
    assert record.verdict == "fail"
    assert record.evidence is not None
    assert record.threshold == 2 / ALPHA
    assert record.evidence >= record.threshold
    assert "5 times as fast as allowed" in record.why
    assert record.why.endswith(":1 against) → fail")


def test_a_release_that_goes_bad_later_fails_within_a_few_windows() -> None:
    for good in (4, 20, 50):
        record = record_of([GOOD] * good + [WORSE] * 10)
        assert record.verdict == "fail"
        assert len(record.recent) - good <= 10


def test_a_burn_that_is_over_takes_nothing_back() -> None:
    """The short window says that it does not burn any more."""
    burnt = ((30.0, 1000.0),) * 10 + (HALF,) * 4
    declared = question(objective_share=0.01)
    record = judge_answer(alone(recent=burnt), declared, windows([HALF]), at(0))
    assert record.verdict == "inconclusive"
    budget = budget_of(HISTORY, record.recent, 0.01, 2.0, 0.001, ALPHA / 2)
    assert budget is not None
    burns = measure(record.recent, budget)
    assert burns.short < limits(HARMFUL_RATIO, is_declared=True)[0] <= burns.long
    assert burns.log_evidence >= -math.log(ALPHA / 2)


def test_a_short_burst_takes_nothing_back() -> None:
    """The long window says that little of the budget is used up."""
    record = record_of([GOOD] * 50 + [(60.0, 1000.0)] * 3, objective_share=0.01)
    assert record.verdict != "fail"
    budget = budget_of(HISTORY, record.recent, 0.01, 2.0, 0.001, ALPHA / 2)
    assert budget is not None
    burns = measure(record.recent, budget)
    assert burns.short >= limits(HARMFUL_RATIO, is_declared=True)[1] > burns.long


def test_one_bad_minute_takes_nothing_back() -> None:
    """Something that both releases need may have failed."""
    for objective in (None, 0.01):
        record = record_of([GOOD] * 3 + [(300.0, 1000.0)] + [GOOD] * 3, objective_share=objective)
        assert record.verdict != "fail"


def test_a_busy_hour_fails_only_beside_a_declared_objective() -> None:
    """What the stable release had says little about another hour."""
    assert record_of([DOUBLE] * 10, objective_share=0.01).verdict == "fail"
    record = record_of([DOUBLE] * 10)
    assert record.verdict == "pass"
    assert record.why.endswith("that it is not harmful; 3 times fail) → pass")
    assert limits(9.0, is_declared=False) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("pairs", "analysis"),
    [
        ([(2.0, 2.0)], {}),  # two requests, and both are bad
        ([(2.0, 2.0)] * 2, {}),
        ([(4.0, 1000.0)], {"min_windows": 1}),
        ([(100.0, 1000.0)], {}),  # one window
        ([(50.0, 50.0)], {"min_windows": 1}),  # 50 requests
    ],
)
def test_little_convicts_nobody(pairs: list[Pair], analysis: dict[str, Any]) -> None:
    quiet = History(30, 0, 30_000, 0)
    assert record_of(pairs, quiet, Analysis(**analysis)).verdict == "inconclusive"


def test_an_objective_is_the_budget_whatever_was_before() -> None:
    record = record_of([DOUBLE] * 10, objective_share=0.05)
    assert record.verdict == "pass"
    assert "the budget of 5 % (the objective)" in record.why
    assert record_of([DOUBLE] * 10, objective_share=0.005).verdict == "fail"
    assert record_of([DOUBLE] * 10, History(), objective_share=0.005).verdict == "fail"


def test_without_history_and_objective_there_is_no_budget() -> None:
    record = record_of([WORSE] * 10, History())
    assert record.verdict == "inconclusive"
    assert "nothing says which share release 4 had" in record.why


def test_few_requests_before_allow_more() -> None:
    """Nobody is convicted because the stable release was observed for a moment only."""
    moment = History(2, 2, 200, 0.02)
    assert record_of([(15.0, 1000.0)] * 10, moment).verdict != "fail"
    assert record_of([(100.0, 1000.0)] * 10, moment).verdict == "fail"


def test_a_service_without_errors_may_have_the_tolerated_share() -> None:
    quiet = History(30, 0, 300_000, 0)
    assert record_of([(10.0, 10_000.0)] * 10, quiet).verdict != "fail"
    assert record_of([(1.0, 10_000.0)] * 10, quiet).verdict == "pass"
    assert record_of([(50.0, 10_000.0)] * 10, quiet).verdict == "fail"


def test_a_service_without_errors_may_have_few_although_none_are_tolerated() -> None:
    """As many as the stable release may have had."""
    history = History(30, 0, 30_000, 0)
    good = record_of([(0.0, 1000.0)] * 5, history, tolerated_share=0.0)
    bad = record_of([(5.0, 1000.0)] * 5, history, tolerated_share=0.0)
    assert (good.verdict, bad.verdict) == ("pass", "fail")


def test_bursts_of_the_stable_release_are_an_excuse() -> None:
    bursty = replace(HISTORY, squares=HISTORY.squares * 21)  # as if 21 came at a time
    pairs = [(18.0, 1000.0)] * 10
    assert record_of(pairs, objective_share=0.01).verdict == "fail"
    assert record_of(pairs, bursty, objective_share=0.01).verdict == "inconclusive"


def test_no_window_counts_twice_and_few_are_kept() -> None:
    first = record_of([GOOD] * 5)
    again = judge_answer(first, question(), windows([GOOD] * 5), at(0))
    assert again == first
    later = judge_answer(first, question(), windows([GOOD] * 100, since=5), at(0))
    assert later.recent == (GOOD,) * LONG


def test_a_window_without_requests_or_numbers_shows_nothing() -> None:
    empty = record_of([GOOD, (0.0, 0.0), GOOD])
    assert empty.recent == (GOOD, GOOD)
    lack = Unmeasured("timeout", "no answer")
    lacking = replace(windows([GOOD]), windows=(WindowMeasured(at(0), at(60), lack, None),))
    record = judge_answer(alone(), question(), lacking, at(60))
    assert (record.verdict, record.recent, record.lacking_since) == ("error", (), at(60))


def test_what_comes_late_of_the_time_before_is_still_compared() -> None:
    compared = Windows(
        (WindowMeasured(at(-60), at(0), Counts(10, 500), Counts(5, 500)),), "requests_total"
    )
    record = judge_answer(alone(step=1), question(), compared, at(0))
    assert (record.recent, record.tally.candidate_bad) == ((), 10)
    assert record.history == add_history(HISTORY, 5, 500)


# ---- The mathematics


def test_the_evidence_is_the_likelihood_of_a_poisson_count() -> None:
    """One window, by the definition: the mean over ratios, of which one in LONG begins here."""
    share, (bad, total) = 0.01, (30.0, 1000.0)
    mean = share * total

    def density(rate: float) -> float:
        return math.exp(bad * math.log(rate) - rate - math.lgamma(bad + 1))

    ratios = [density(ratio * mean) / density(mean) for ratio in RATIOS]
    expected = (sum(ratios) / len(RATIOS) + (LONG - 1)) / LONG
    assert log_evidence_above([(bad, total)], share, 1.0) == pytest.approx(math.log(expected))


def test_the_expectation_of_the_evidence_is_one() -> None:
    """Of two windows under the hypothesis, summed over all counts that matter."""
    mean = 3.0
    probability = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(60)]
    expectation = sum(
        first * second * math.exp(log_evidence_above([(i, 300.0), (k, 300.0)], 0.01, 1.0))
        for i, first in enumerate(probability)
        for k, second in enumerate(probability)
    )
    assert expectation == pytest.approx(1.0, abs=1e-6)


def test_the_limits_of_a_share_are_those_of_a_poisson_count() -> None:
    """Garwood's exact limits for ten: 18.39 at 2.5 %, 6.221 at 10 %."""
    ten = History(1, 10, 1000, 0.1)
    prior = [(1.0, 100.0)] * 400  # so many even windows that nothing is added for bursts
    budget = budget_of(ten, prior, None, 2.0, 0.0, 0.025)
    assert budget is not None
    assert budget.spread == 1
    assert budget.highest == pytest.approx(18.39 / 1000, rel=0.005)
    assert budget.harmful == pytest.approx(2 * 6.221 / 1000, rel=0.01)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(50, 1000)), min_size=1, max_size=LONG),
    st.floats(1, 30),
)
def test_more_bad_requests_are_more_evidence(counts: list[tuple[int, int]], spread: float) -> None:
    pairs = [(float(bad), float(total)) for bad, total in counts]
    more = [*pairs[:-1], (pairs[-1][0] + 1, pairs[-1][1])]
    budget = Budget(0.01, 0.012, 0.018, spread)
    before, after = measure(pairs, budget), measure(more, budget)
    assert after.log_evidence >= before.log_evidence
    assert after.log_evidence_for <= before.log_evidence_for
    assert (after.short, after.long) >= (before.short, before.long)


# ---- How sure it is


@dataclass(frozen=True)
class Case:
    """Requests a second, the share of bad ones, how many times that the release has from which
    window on, the dispersion, and the declared objective.
    """

    per_second: float
    share: float
    ratio: float = 1.0
    onset: int = 0
    dispersion: float = 4.0
    objective: float | None = None


def count(rng: random.Random, mean: float, dispersion: float) -> float:
    """Bad requests of a window: Poisson, with a mean that varies."""
    if mean <= 0:
        return 0.0
    if dispersion > 1:
        mean = rng.gammavariate(mean / (dispersion - 1), dispersion - 1)
    if mean > 200:
        return max(0.0, round(rng.gauss(mean, math.sqrt(mean))))
    found, rest = 0, rng.expovariate(1)
    while rest < mean:
        found, rest = found + 1, rest + rng.expovariate(1)
    return float(found)


def windows_to_fail(rng: random.Random, case: Case, most: int = LONG) -> int | None:
    """How many windows after it went bad the release fails; None if it does not."""
    total = 60 * case.per_second
    history = History()
    for _ in range(30):
        bad = count(rng, total * case.share, case.dispersion)
        history = add_history(history, min(bad, total), total)
    record = alone(history)
    for minute in range(most):
        ratio = case.ratio if minute >= case.onset else 1.0
        bad = count(rng, total * case.share * ratio, case.dispersion)
        answer = windows([(min(bad, total), total)], since=minute)
        declared = question(objective_share=case.objective)
        record = judge_answer(record, declared, answer, at(0))
        if record.verdict == "fail":
            return minute + 1 - case.onset
    return None


def runs(case: Case, number: int, most: int = LONG) -> list[int | None]:
    rng = random.Random(str(case))
    return [windows_to_fail(rng, case, most) for _ in range(number)]


def test_good_releases_stay_and_those_that_go_bad_later_go_back() -> None:
    assert runs(Case(100, 0.01), 20, most=30) == [None] * 20
    for onset in (0, 4):
        found = runs(Case(100, 0.01, ratio=5, onset=onset), 20, most=onset + 10)
        assert all(each is not None and 0 < each <= 5 for each in found)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("case", "least", "most"),
    [
        *((Case(rate, 0.01, dispersion=phi), 0.0, 0.02) for rate in (10, 100) for phi in (1, 4)),
        (Case(1, 0.01), 0.0, 0.04),  # a burst in every second window
        (Case(100, 0.0005), 0.0, 0.02),
        (Case(100, 0.01, ratio=2, objective=0.01), 0.99, 1.0),
        (Case(100, 0.01, ratio=2, onset=4, objective=0.01), 0.99, 1.0),
        (Case(10, 0.01, ratio=5), 0.99, 1.0),
        (Case(10, 0.01, ratio=5, onset=4), 0.99, 1.0),
    ],
)
def test_how_many_fail_within_an_hour(case: Case, least: float, most: float) -> None:
    found = runs(case, 500)
    assert least <= sum(each is not None for each in found) / len(found) <= most
