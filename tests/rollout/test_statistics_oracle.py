"""The oracle has the numbers that its authors published, and agrees with the evidence of gates."""

from __future__ import annotations

import math

import pytest

from rollout.gates.statistics import Tally, Window, add, log_evidence_against
from tests.rollout.statistics_oracle import (
    BetaBinomialMixture,
    NormalMixture,
    best_rho,
    mixture_sprt,
    quantile_p_value,
    share_interval,
)


def agrees(value: float, published: str) -> bool:
    """All published digits; the last one may be cut off or rounded."""
    return abs(value - float(published)) < 10.0 ** -len(published.split(".")[1])


def test_the_mixture_sprt_has_its_golden_value() -> None:
    assert f"{mixture_sprt(1000, 0.1, 1.0, 0.01):.6f}" == "3.278722"


def test_the_normal_mixture_has_its_published_values() -> None:
    rho = best_rho(100, 0.05)
    assert agrees(rho, "12.60056")
    assert agrees(NormalMixture(rho).log_value(10, 100), "-0.6510052")
    assert agrees(NormalMixture(rho).bound(100, 0.05), "30.35209")


def test_the_beta_binomial_mixture_has_its_published_value() -> None:
    mixture = BetaBinomialMixture.best(100, 0.05, 0.2, 0.8)
    assert agrees(mixture.log_value(10, 100), "-0.6941012")


@pytest.mark.parametrize(
    ("bad", "total", "best_at", "low", "high"),
    [(700, 1000, 100, "0.651629", "0.745949"), (5, 50, 50, "0.013021", "0.269264")],
)
def test_the_interval_of_a_share_has_its_published_ends(
    bad: int, total: int, best_at: int, low: str, high: str
) -> None:
    found = share_interval(bad, total, 0.05, best_at)
    assert agrees(found[0], low)
    assert agrees(found[1], high)


@pytest.mark.parametrize(
    ("quantile", "shift", "p_value"),
    [
        (0.5, 70, "0.814704"),
        (0.5, 85, "0.0838055"),
        (0.5, 100, "0.0054947"),
        (0.9, 55, "0.0340463"),
    ],
)
def test_the_comparison_of_quantiles_has_its_published_values(
    quantile: float, shift: int, p_value: str
) -> None:
    found = quantile_p_value(quantile, range(1, 1001), range(1 + shift, 1001 + shift), 100)
    assert agrees(found, p_value)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0, 4.0])
def test_both_convict_the_same_shares_of_errors(ratio: float) -> None:
    """The interval of the candidate's share of all errors excludes its share of the requests when
    the evidence says so too, or both do not. 600 errors, a quarter of the requests.
    """
    bad = 600
    candidate_bad = round(bad * ratio / (ratio + 3))
    window = Window(bad - candidate_bad, 60_000, candidate_bad, 20_000)
    evidence = log_evidence_against(add(Tally(), window, 2.0))
    low, _ = share_interval(candidate_bad, bad, 0.01, bad)
    assert (evidence >= math.log(1 / 0.01)) == (low > 0.25) == (ratio > 1)
