"""Judges a release that has all requests by how fast it burns an error budget. Pure.

No stable traffic is left to compare with. The budget is the declared objective, else the share of
bad requests that the stable release had before (`History`). Called by `rollout/gates/windows.py`,
from when the release has all requests until its watch is over.

A release fails if both are so:

    it burns   in most of the last `SHORT` windows, and over the last `LONG` ones, it uses up the
               budget faster than their limits: it has for a while, and still does
    surely     the evidence that its share exceeds what the budget can be reaches 1/alpha

With a declared objective it passes if it is surely not harmful; without one, unless it burns.
docs/gates.md ("After promotion") has the derivation and what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from statistics import NormalDist

from rollout.deferred import dataclass
from rollout.gates.statistics import (
    PRIOR_WINDOWS,
    RATIOS,
    burn_rate,
    log_mean_exp,
    low_quantile,
)

SHORT, LONG = 5, 60
"""Windows: 5 minutes and an hour, unless `analysis.window_seconds` says otherwise."""
UNDECLARED_LIMIT = 3.0
"""How many times what the stable release had is too much in any hour. Measured by `make bench`."""
PASS_DEVIATIONS = 1.2816
"""Of the lower 90 % limit of the stable release's share, for a pass. No more, since a pass needs
evidence of 100:1 beside it."""

Pair = tuple[float, float]
"""Bad requests and all requests of one window."""


@dataclass(frozen=True)
class History:
    """What the stable release had, window by window: sums, of which `squares` is that of the square
    of the bad requests by all. So its share is on record, and how much that varies.
    """

    windows: int = 0
    bad: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def share(self) -> float:
        return self.bad / self.total if self.total else 0.0


@dataclass(frozen=True)
class Budget:
    """What a release may spend. `share` is what the burn rate refers to; the budget is surely not
    above `highest`, and a release with a share of `harmful` or more surely is harmful. `spread`:
    by what evidence is divided (at least 1), because bad requests come in bursts.
    """

    share: float
    highest: float
    harmful: float
    spread: float


@dataclass(frozen=True)
class Burn:
    """What the windows since the release has had all requests show: `short` is the burn rate that
    most of the last windows reach, `long` that of all.
    """

    short: float
    long: float
    log_evidence: float
    log_evidence_for: float

    def is_above(self, limits: tuple[float, float]) -> bool:
        """Whether it has burnt that fast for a while, and still does."""
        return self.short >= limits[0] and self.long >= limits[1]


def add_history(history: History, bad: float, total: float) -> History:
    if total <= 0:
        return history
    return History(
        history.windows + 1,
        history.bad + bad,
        history.total + total,
        history.squares + bad**2 / total,
    )


def budget_of(
    history: History,
    windows: Sequence[Pair],
    objective: float | None,
    harmful_ratio: float,
    tolerated_share: float,
    alpha: float,
) -> Budget | None:
    """The budget; None if nothing says what the stable release had. Its share is an estimate, so
    that the budget may be higher by as much as `alpha` allows, or lower. If that is 0, and nothing
    is tolerated, it is the most that it may have been.
    """
    spread = _spread(history, windows)
    if objective is not None:
        return Budget(objective, objective, harmful_ratio * objective, spread)
    if not history.total:
        return None
    highest = _upper_limit(history, spread, _quantile(alpha))
    lowest = _lower_limit(history, spread, PASS_DEVIATIONS)
    return Budget(
        max(history.share, tolerated_share) or highest,
        max(highest, tolerated_share),
        max(harmful_ratio * lowest, tolerated_share),
        spread,
    )


def limits(harmful_ratio: float, *, is_declared: bool) -> tuple[float, float]:
    """How many times as fast as allowed is too fast, over the short and over the long windows:
    half-way to what is harmful.

    What the stable release had is of another time: in a busy hour, or when something fails that
    both need, a good release has more. So without a declared objective the short limit is high.
    """
    half_way = (1 + harmful_ratio) / 2
    return half_way if is_declared else max(UNDECLARED_LIMIT, half_way), half_way


def measure(windows: Sequence[Pair], budget: Budget) -> Burn:
    return Burn(
        _most_reach(windows[-SHORT:], budget),
        _burn_rate(windows[-LONG:], budget),
        log_evidence_above(windows[-LONG:], budget.highest, budget.spread),
        _log_evidence_below(windows[-LONG:], budget.harmful, budget.spread),
    )


def _most_reach(windows: Sequence[Pair], budget: Budget) -> float:
    """The burn rate that three of five windows reach, two of three, three of four. One minute in
    which something else failed does not raise it.
    """
    rates = sorted(burn_rate(bad, total, budget.share) for bad, total in windows)
    return rates[(len(rates) - 1) // 2] if rates else 0.0


def _burn_rate(windows: Iterable[Pair], budget: Budget) -> float:
    bad, total = map(sum, zip((0.0, 0.0), *windows, strict=True))
    return burn_rate(bad, total, budget.share)


# ---- Evidence


def log_evidence_above(windows: Sequence[Pair], share: float, spread: float) -> float:
    """The logarithm of E against "at most this share is bad, in every window".

    For a Poisson count, r^e · exp(-(r - 1)·s·n) has an expectation of at most 1 if r > 1. A release
    may go bad at any time, so the evidence is the mean over the windows in which that may have
    been, of which there are `LONG`: those before count for nothing, and those to come are 1.
    """
    logs: list[float] = [0.0] * (len(RATIOS) * (LONG - len(windows)))
    for ratio in RATIOS:
        gains = (
            (bad * math.log(ratio) - (ratio - 1) * share * total) / spread
            for bad, total in reversed(windows)
        )
        logs += accumulate(gains)
    return log_mean_exp(logs)


def _log_evidence_below(windows: Sequence[Pair], share: float, spread: float) -> float:
    """The logarithm of E against "at least this share is bad"."""
    bad, total = map(sum, zip((0.0, 0.0), *windows, strict=True))
    return (
        log_mean_exp(-bad * math.log(ratio) + (1 - 1 / ratio) * share * total for ratio in RATIOS)
        / spread
    )


# ---- How well the stable release's share is known


def _spread(history: History, windows: Sequence[Pair]) -> float:
    """How much more the number of bad requests varies between windows than chance does: Pearson's
    chi-squared of the stable release's windows, and that of the differences between one window of
    the new release and the next, which a release that goes bad once hardly raises. The upper 90 %
    limit of their mean.
    """
    chi_squared = degrees = 0.0
    if history.bad > 0:
        degrees += history.windows - 1
        chi_squared += max(0.0, history.squares / history.share - history.bad)
    for (bad, total), (next_bad, next_total) in pairwise(windows):
        if bad + next_bad > 0 and total and next_total:
            share = (bad + next_bad) / (total + next_total)
            difference = next_bad / next_total - bad / total
            chi_squared += difference**2 / (share * (1 / total + 1 / next_total)) / 2
            degrees += 0.5
    degrees += PRIOR_WINDOWS
    return max(1.0, (chi_squared + PRIOR_WINDOWS) / low_quantile(degrees))


def _upper_limit(history: History, spread: float, deviations: float) -> float:
    """The highest share with which so few bad requests are likely: the quantile of a chi-squared by
    the approximation of Wilson and Hilferty, of counts that are divided by the dispersion.
    """
    return _gamma_quantile(history.bad / spread + 1, deviations) * spread / history.total


def _lower_limit(history: History, spread: float, deviations: float) -> float:
    bad = history.bad / spread
    return _gamma_quantile(bad, -deviations) * spread / history.total if bad > 0 else 0.0


def _gamma_quantile(shape: float, deviations: float) -> float:
    return float(shape * max(0.0, 1 - 1 / (9 * shape) + deviations / (3 * math.sqrt(shape))) ** 3)


def _quantile(alpha: float) -> float:
    """How many deviations a normal value exceeds with this probability."""
    return NormalDist().inv_cdf(1 - alpha)
