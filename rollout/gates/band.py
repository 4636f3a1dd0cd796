"""An anytime band around two latency histograms: do they differ, and where? Pure.

A second opinion for the record; no gate fails by it, since it needs many more requests than a
declared bound. The band of Howard & Ramdas (Bernoulli 28, 2022, theorem 2) contains a true
distribution at all sample sizes at once, and at all edges of its buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

from rollout.deferred import dataclass

LEADING_CONSTANT = 0.85
SMALLEST_SAMPLE = 100
"""Below so many requests there is no band."""
STEPS = 60


@dataclass(frozen=True)
class Difference:
    """The edge at which two distributions differ most clearly, and the share of requests that took
    longer on each side. `excess`: by how much their distance exceeds both bands; they certainly
    differ if it is above 0.
    """

    edge: float
    baseline_slower: float
    candidate_slower: float
    excess: float


def difference(
    baseline: Mapping[float, float], candidate: Mapping[float, float], alpha: float
) -> Difference | None:
    """Compares cumulative counts by edge, as Prometheus's `le` has them, with infinity for all.

    None without edges in common, or with too few requests. Each side gets half of alpha.
    """
    baseline_total = baseline.get(math.inf, 0.0)
    candidate_total = candidate.get(math.inf, 0.0)
    edges = sorted((baseline.keys() & candidate.keys()) - {math.inf})
    if not edges or min(baseline_total, candidate_total) < SMALLEST_SAMPLE:
        return None
    width = band_width(baseline_total, alpha / 2) + band_width(candidate_total, alpha / 2)
    differences = (
        _difference_at(edge, baseline[edge] / baseline_total, candidate[edge] / candidate_total)
        for edge in edges
    )
    widest = max(differences, key=lambda each: each.excess)
    return Difference(
        widest.edge, widest.baseline_slower, widest.candidate_slower, widest.excess - width
    )


def _difference_at(edge: float, baseline: float, candidate: float) -> Difference:
    return Difference(edge, 1 - baseline, 1 - candidate, abs(baseline - candidate))


def band_width(size: float, alpha: float) -> float:
    """Half the height of the band around the distribution of a sample of so many requests."""
    if size < SMALLEST_SAMPLE:
        return math.inf
    iterated = math.log(1 + math.log(size / SMALLEST_SAMPLE))
    return LEADING_CONSTANT * math.sqrt((iterated + _constant(alpha)) / size)


@cache
def _constant(alpha: float) -> float:
    """The smallest C for which the band fails with a probability of at most alpha."""
    low, high = 1.0, 2.0
    while _least_error(high) > alpha:
        low, high = high, 2 * high
    return _bisect(lambda constant: _least_error(constant) - alpha, low, high)


def _least_error(constant: float) -> float:
    """The bound on the probability of failure, with the best spacing eta of the epochs that its
    proof divides time into: 4·exp(-γ²C)·(1 + 1/((γ² - 1)·log η)), γ² = 2/η·(A - √(2(η - 1)/C))².
    """

    def error(eta: float) -> float:
        root = LEADING_CONSTANT - math.sqrt(2 * (eta - 1) / constant)
        gamma = 2 / eta * root**2
        if gamma <= 1 or eta <= 1:
            return math.inf
        return 4 * math.exp(-gamma * constant) * (1 + 1 / ((gamma - 1) * math.log(eta)))

    def distance_to_last(eta: float) -> float:
        return LEADING_CONSTANT - math.sqrt(eta / 2) - math.sqrt(2 * (eta - 1) / constant)

    last = _bisect(distance_to_last, 1.0, 2 * LEADING_CONSTANT**2)
    return error(_minimum(error, 1.0, last))


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from `low` to `high` is zero."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is smallest, by golden sections."""
    section = (math.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - section * (high - low), low + section * (high - low)
        low, high = (low, right) if function(left) < function(right) else (left, high)
    return (low + high) / 2
