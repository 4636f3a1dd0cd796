"""Gates promote no bad release and roll no good one back, in a noisy world; and the rules that
`make bench` compares them with are those of their owners.
"""

from __future__ import annotations

import pytest

from bench.gates.argo import Argo
from bench.gates.kayenta import Kayenta, interval
from bench.gates.measure import SLIPWAY, case
from bench.gates.releases import BAD, ERRORS, GOOD, LATENCY
from bench.gates.rollouts import Moment
from bench.gates.traffic import PROPAGATION, Minute, Side


def test_no_bad_release_is_promoted_and_no_good_one_rolled_back() -> None:
    """`make bench` rolls a thousand of each out."""
    good = [case(SLIPWAY, GOOD, seed).outcome.end for seed in range(15)]
    bad = [case(SLIPWAY, kind, seed).outcome.end for kind in BAD for seed in range(3)]
    assert "rolled back" not in good
    assert good.count("promoted") >= 14
    assert bad == ["rolled back"] * 15


# ---- The rules of others


def test_the_interval_is_the_one_of_kayentas_own_test() -> None:
    lower, upper, estimate = interval([10, 20, 30, 40], [1, 2, 3, 4], 0.95)
    assert (lower, upper) == pytest.approx((6, 39), abs=1e-2)
    assert estimate == 22.5


def moment(errors: list[tuple[int, int]], *, due: bool = False) -> Moment:
    """A step with these bad requests of 1,000 a minute, on the candidate and on stable."""
    nothing = {gate: Minute(Side(0, 0), Side(0, 0)) for gate in (ERRORS, LATENCY)}
    quiet = Minute(Side(50, 1000), Side(50, 1000))
    minutes = [
        {ERRORS: Minute(Side(candidate, 1000), Side(stable, 1000)), LATENCY: quiet}
        for candidate, stable in errors
    ]
    return Moment(1, 5.0, 0, PROPAGATION + len(errors), due, [nothing] * PROPAGATION + minutes)


SERIES = [(20, 11), (22, 9), (19, 10), (23, 12), (21, 8), (24, 10), (18, 9)]


def test_kayenta_takes_back_what_is_surely_higher_and_lets_go_on_what_is_not() -> None:
    for rule in (Kayenta(), Kayenta(every_minute=False)):
        assert rule.answer(moment(SERIES, due=True)) == "roll back"
        assert rule.answer(moment([(10, 11), (9, 9), (11, 10)], due=True)) == "go on"
    assert Kayenta().answer(moment(SERIES)) == "roll back"
    assert Kayenta(every_minute=False).answer(moment(SERIES)) == "stay"


def test_argo_fails_after_more_than_its_limit_of_failed_measurements() -> None:
    rule = Argo({ERRORS: 0.015, LATENCY: 0.1})
    assert rule.answer(moment([(20, 10)] * 3, due=True)) == "go on"
    assert rule.answer(moment([(20, 10), (5, 10)] * 4)) == "roll back"
    assert rule.answer(moment([(15, 10)] * 9)) == "stay"
