"""The evidence of gates, computed a second way with SciPy. In the wide tier: its import is slow."""

from __future__ import annotations

import math
from importlib import import_module
from types import ModuleType

import pytest

from rollout.gates.band import band_width
from rollout.gates.statistics import (
    RATIOS,
    Dispersion,
    Tally,
    Window,
    add,
    add_dispersion,
    factor,
    log_evidence_against,
    log_evidence_below,
    log_evidence_for,
)

pytestmark = pytest.mark.wide

WINDOWS = (
    Window(45, 4500, 37, 1500),
    Window(57, 5700, 9, 300),
    Window(0, 100, 7, 100),
    Window(12, 3000, 0, 9000),
)


@pytest.fixture(scope="module")
def stats() -> ModuleType:
    return import_module("scipy.stats")


@pytest.fixture(scope="module")
def optimize() -> ModuleType:
    return import_module("scipy.optimize")


def log_mean(logs: list[float]) -> float:
    return math.log(sum(map(math.exp, logs)) / len(logs))


@pytest.mark.parametrize("hypothesis", [1.0, 3.0])
def test_evidence_is_a_mean_of_ratios_of_binomial_likelihoods(
    stats: ModuleType, hypothesis: float
) -> None:
    def log_likelihood(ratio: float) -> float:
        total = 0.0
        for each in WINDOWS:
            exposure = ratio * each.candidate_total
            q = exposure / (exposure + each.baseline_total)
            bad = each.baseline_bad + each.candidate_bad
            total += stats.binom.logpmf(each.candidate_bad, bad, q)
        return total

    tally = Tally()
    for window in WINDOWS:
        tally = add(tally, window, hypothesis, tolerated_ratio=hypothesis)
    at_hypothesis = log_likelihood(hypothesis)
    above = [log_likelihood(hypothesis * ratio) - at_hypothesis for ratio in RATIOS]
    below = [log_likelihood(hypothesis / ratio) - at_hypothesis for ratio in RATIOS]
    assert log_evidence_against(tally) == pytest.approx(log_mean(above), rel=1e-9)
    assert log_evidence_for(tally) == pytest.approx(log_mean(below), rel=1e-9)


@pytest.mark.parametrize(("bad", "total", "share"), [(0, 220, 0.02), (3, 5000, 0.001)])
def test_evidence_below_a_share_is_a_mean_of_ratios_of_poisson_likelihoods(
    stats: ModuleType, bad: int, total: int, share: float
) -> None:
    at_share = stats.poisson.logpmf(bad, share * total)
    below = [stats.poisson.logpmf(bad, share * total / ratio) - at_share for ratio in RATIOS]
    tally = add(Tally(), Window(0, 0, bad, total), 2.0)
    assert log_evidence_below(tally, share) == pytest.approx(log_mean(below), rel=1e-9)


def test_the_dispersion_is_pearsons_chi_squared_by_a_low_quantile(stats: ModuleType) -> None:
    bad = [(30, 10), (25, 18), (33, 2), (31, 11), (28, 25), (36, 9), (30, 12), (29, 3)]
    dispersion = Dispersion()
    for baseline, candidate in bad:
        dispersion = add_dispersion(dispersion, Window(baseline, 3000, candidate, 1000))
    pearson = stats.chi2_contingency(bad, correction=False)
    expected = (pearson.statistic + 2) / stats.chi2.ppf(0.1, pearson.dof + 2)
    assert pearson.dof == 7
    assert factor(dispersion) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_the_constant_of_the_band_is_the_best_one(optimize: ModuleType, alpha: float) -> None:
    """Chernoff's bound over epochs whose lengths grow by eta, minimised over eta by SciPy."""
    size, leading = 1000, 0.85
    constant = (band_width(size, alpha) / leading) ** 2 * size - math.log(1 + math.log(size / 100))

    def error(eta: float) -> float:
        gamma = 2 / eta * (leading - math.sqrt(2 * (eta - 1) / constant)) ** 2
        if gamma <= 1:
            return math.inf
        return 4 * math.exp(-gamma * constant) * (1 + 1 / ((gamma - 1) * math.log(eta)))

    least = optimize.minimize_scalar(error, bounds=(1 + 1e-6, 1.03), method="bounded")
    assert least.fun == pytest.approx(alpha, rel=1e-4)
