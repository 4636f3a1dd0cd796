"""Published methods that Slipway does not use, as oracles and for comparison. Standard library.

The normal and the beta-binomial mixture, the confidence sequence of a share and the comparison of
quantiles are those of Howard & Ramdas (Annals of Statistics 49, 2021; Bernoulli 28, 2022), whose
package `confseq` has the numbers in its unit tests. The mixture SPRT is that of Johari, Koomen,
Pekelis & Walsh (Operations Research 70, 2022).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STEPS = 80


def mixture_sprt(size: int, difference: float, variance: float, spread: float) -> float:
    """The likelihood ratio for the difference of two means after so many pairs of values."""
    pooled = 2 * variance
    total = pooled + size * spread
    exponent = size**2 * spread * difference**2 / (2 * pooled * total)
    return math.sqrt(pooled / total) * math.exp(exponent)


def best_rho(variance: float, alpha: float) -> float:
    """The spread of a normal mixture that is best at this variance."""
    log = math.log(1 / alpha)
    return variance / (2 * log + math.log(1 + 2 * log))


@dataclass(frozen=True)
class NormalMixture:
    rho: float

    def log_value(self, total: float, variance: float) -> float:
        scale = variance + self.rho
        return math.log(self.rho / scale) / 2 + total**2 / (2 * scale)

    def bound(self, variance: float, alpha: float) -> float:
        log = math.log(1 + variance / self.rho) + 2 * math.log(1 / alpha)
        return math.sqrt((variance + self.rho) * log)


@dataclass(frozen=True)
class BetaBinomialMixture:
    """Of sums whose steps lie between -g and h."""

    spread: float
    g: float
    h: float

    @classmethod
    def best(cls, variance: float, alpha: float, g: float, h: float) -> BetaBinomialMixture:
        return cls(max(best_rho(variance, alpha) - g * h, 1e-3 * g * h), g, h)

    def log_value(self, total: float, variance: float) -> float:
        g, h, r = self.g, self.h, self.spread
        width = g + h
        return (
            variance / (g * h) * math.log(width)
            - (variance + h * total) / (h * width) * math.log(g)
            - (variance - g * total) / (g * width) * math.log(h)
            + _log_beta(
                (r + variance - g * total) / (g * width), (r + variance + h * total) / (h * width)
            )
            - _log_beta(r / (g * width), r / (h * width))
        )


def share_interval(bad: int, total: int, alpha: float, best_at: int) -> tuple[float, float]:
    """The confidence sequence of a share, at one moment."""
    share = bad / total

    def excess(p: float) -> float:
        mixture = BetaBinomialMixture.best(p * (1 - p) * best_at, 0.05, p, 1 - p)
        log = mixture.log_value((share - p) * total, p * (1 - p) * total)
        return log - math.log(1 / alpha)

    return _zero(excess, share, 0.0), _zero(excess, share, 1.0)


def quantile_p_value(
    quantile: float, first: Sequence[float], second: Sequence[float], best_at: int
) -> float:
    """How likely two samples are if they have this quantile in common, at any time."""
    variance = quantile * (1 - quantile)
    mixture = BetaBinomialMixture.best(best_at * variance, 0.05, quantile, 1 - quantile)
    samples = sorted(first), sorted(second)

    def log_of_share(size: int, share: float) -> float:
        return mixture.log_value((share - quantile) * size, variance * size)

    def best_share(size: int) -> float:
        return _lowest(lambda share: log_of_share(size, share))

    best_shares = [best_share(len(sample)) for sample in samples]

    def log_at(value: float) -> float:
        logs = 0.0
        for sample, best in zip(samples, best_shares, strict=True):
            size = len(sample)
            less, at_most = bisect_left(sample, value) / size, bisect_right(sample, value) / size
            logs += log_of_share(size, min(max(best, less), at_most))
        return logs

    return min(1.0, math.exp(-min(map(log_at, {*first, *second}))))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _zero(function: Callable[[float], float], negative: float, positive: float) -> float:
    for _ in range(STEPS):
        middle = (negative + positive) / 2
        if function(middle) < 0:
            negative = middle
        else:
            positive = middle
    return (negative + positive) / 2


def _lowest(function: Callable[[float], float]) -> float:
    """Where a convex function of a share is smallest."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if function(left) < function(right) else (left, high)
    return (low + high) / 2
