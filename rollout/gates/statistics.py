"""The statistics by which gates judge counts: bad events of all events, candidate against baseline.

Pure. Gates add each window to a `Tally` and ask it for evidence at any time. Each kind of evidence
is an e-process, so that looking after every window does not raise the rate of false alarms:
a true null hypothesis reaches evidence of 1/alpha with a probability of at most alpha, ever.
docs/gates.md ("The mathematics") has the derivation, the assumptions and the references.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from rollout.deferred import dataclass

RATIOS = (1.25, 1.5, 2, 3, 5, 10)
"""The alternatives of a test: by how much the ratio of both rates differs from the hypothesis. The
evidence is the mean over them, so that none has to be chosen in advance."""

NOTHING = (0.0,) * len(RATIOS)

LATER = 0.1
"""Little, since most releases that are bad are so at once."""
MOST_GAIN = 5.0
"""After an hour or a day of good windows it takes four or five to convict."""


@dataclass(frozen=True)
class Window:
    """Bad events and all events of both sides during the same time."""

    baseline_bad: float
    baseline_total: float
    candidate_bad: float
    candidate_total: float


@dataclass(frozen=True)
class Tally:
    """What all windows of one step have shown; a sum, so that it can be stored and carried on.

    `against` and `in_favour` are the log-likelihood ratios of each alternative: that the candidate
    is worse than tolerated, and that it is better than harmful. `since`: those of `against` from
    each window on, summed with the weight of that window; empty without windows.
    """

    windows: int = 0
    baseline_bad: float = 0.0
    baseline_total: float = 0.0
    candidate_bad: float = 0.0
    candidate_total: float = 0.0
    against: tuple[float, ...] = NOTHING
    in_favour: tuple[float, ...] = NOTHING
    since: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        """How many times the baseline's share the candidate's share is; None if none is bad."""
        if not self.baseline_bad or not self.candidate_total:
            return None
        share = self.candidate_bad / self.candidate_total
        return share / (self.baseline_bad / self.baseline_total)


def add(
    tally: Tally, window: Window, harmful_ratio: float, *, tolerated_ratio: float = 1.0
) -> Tally:
    """The tally after one more window. Both ratios are fixed for all windows of a tally.

    A window without requests on one side compares nothing; it counts in the sums only.
    """
    against = _log_likelihoods(window, tolerated_ratio, RATIOS)
    in_favour = _log_likelihoods(window, harmful_ratio, [1 / ratio for ratio in RATIOS])
    return Tally(
        tally.windows + 1,
        tally.baseline_bad + window.baseline_bad,
        tally.baseline_total + window.baseline_total,
        tally.candidate_bad + window.candidate_bad,
        tally.candidate_total + window.candidate_total,
        tuple(map(sum, zip(tally.against, against, strict=True))),
        tuple(map(sum, zip(tally.in_favour, in_favour, strict=True))),
        _since_each_window(tally, against),
    )


def _since_each_window(tally: Tally, gains: Iterable[float]) -> tuple[float, ...]:
    """Window t has a weight of 1/(t(t + 1)): those of all windows, ever, add up to 1. A window adds
    `MOST_GAIN` at most, which only lowers the evidence: one bad minute of a good day is a burst.
    """
    number = tally.windows + 1
    weight = -math.log(number * (number + 1))
    before = tally.since or (-math.inf,) * len(RATIOS)
    return tuple(
        min(gain, MOST_GAIN) + math.log(2) + log_mean_exp((old, weight))
        for gain, old in zip(gains, before, strict=True)
    )


def _log_likelihoods(
    window: Window, hypothesis: float, ratios: Iterable[float]
) -> tuple[float, ...]:
    """How much likelier the window is if the ratio of both rates is `ratio` times the hypothesis.

    Of all bad events, a binomial share of q = ρ·n_c / (ρ·n_c + n_b) falls on the candidate. The
    logarithm of (q(rρ)/q(ρ))^e_c · ((1 - q(rρ))/(1 - q(ρ)))^e_b simplifies to the sum below.
    """
    if window.baseline_total <= 0 or window.candidate_total <= 0:
        return NOTHING
    exposure = hypothesis * window.candidate_total
    q = exposure / (exposure + window.baseline_total)
    bad = window.candidate_bad + window.baseline_bad
    return tuple(
        window.candidate_bad * math.log(ratio) - bad * math.log1p((ratio - 1) * q)
        for ratio in ratios
    )


def log_evidence_against(tally: Tally) -> float:
    """The logarithm of E against "the candidate is at most `tolerated_ratio` times as bad"."""
    return log_mean_exp(tally.against)


def log_evidence_against_now(tally: Tally) -> float:
    """The same for a candidate that may have become worse in any window of the tally, so that a day
    of good windows does not outweigh what follows: the mean of the evidence from the first window
    on and, with the weight `LATER`, of that from each window on.
    """
    unspent = -math.log(tally.windows + 1)  # the weight of the windows to come
    later = math.log(2) + log_mean_exp((log_mean_exp(tally.since), unspent)) if tally.since else 0
    both = math.log(1 - LATER) + log_evidence_against(tally), math.log(LATER) + later
    return math.log(2) + log_mean_exp(both)


def log_evidence_for(tally: Tally) -> float:
    """The logarithm of E against "the candidate is at least `harmful_ratio` times as bad"."""
    return log_mean_exp(tally.in_favour)


def log_evidence_below(tally: Tally, share: float) -> float:
    """The logarithm of E against "at least this share of the candidate's events is bad".

    Needs no baseline, so it can pass a service in which nothing is bad on either side. For a
    Poisson count, r^e · exp((1 - r)·s·n) has an expectation of at most 1 if r < 1.
    """
    expected = share * tally.candidate_total
    return log_mean_exp(
        -tally.candidate_bad * math.log(ratio) + (1 - 1 / ratio) * expected for ratio in RATIOS
    )


def log_mean_exp(logs: Iterable[float]) -> float:
    """The logarithm of a mean, from logarithms: the largest is taken out, so nothing overflows."""
    values = tuple(logs)
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(each - largest) for each in values) / len(values))


# ---- Bursts

PRIOR_WINDOWS = 2
"""How many windows of dispersion 1 an estimate begins with, so that there always is one."""
UPPER_DEVIATIONS = 1.2816
"""The estimate is the upper 90 % limit: with few windows, the mean misses most bursts."""
PRIOR_BURST = 4
"""The size of the one burst that the size of bursts begins with."""
UNSEEN = 2.0
"""Of a rollout in which nothing has been bad on either side. With more, a service without errors
would stay in its first steps for long."""


@dataclass(frozen=True)
class Dispersion:
    """How much more the candidate's share of the bad events varies between windows than chance
    does: Pearson's chi-squared of the windows of each step, summed over the steps of a rollout.

    `chi_squared` and `degrees` are those of the steps before. The rest are sums over the windows
    of this step that have bad events: how many, bad events, those of the candidate, and the square
    of the candidate's by all; `total_bad` and `total_squares` are the bad events and their squares
    in all windows of the rollout.
    """

    chi_squared: float = 0.0
    degrees: int = 0
    windows: int = 0
    bad: float = 0.0
    candidate_bad: float = 0.0
    squares: float = 0.0
    total_bad: float = 0.0
    total_squares: float = 0.0


def add_dispersion(dispersion: Dispersion, window: Window) -> Dispersion:
    """The dispersion after one more window. A burst that hits both sides at once leaves the
    candidate's share as it is, and so the evidence and the dispersion.
    """
    bad = window.candidate_bad + window.baseline_bad
    if bad <= 0 or window.baseline_total <= 0 or window.candidate_total <= 0:
        return dispersion
    return replace(
        dispersion,
        windows=dispersion.windows + 1,
        bad=dispersion.bad + bad,
        candidate_bad=dispersion.candidate_bad + window.candidate_bad,
        squares=dispersion.squares + window.candidate_bad**2 / bad,
        total_bad=dispersion.total_bad + bad,
        total_squares=dispersion.total_squares + bad**2,
    )


def next_step(dispersion: Dispersion) -> Dispersion:
    """Begins a step: another weight gives the candidate another share of the bad events."""
    chi_squared, degrees = _pearson(dispersion)
    return Dispersion(
        chi_squared,
        degrees,
        total_bad=dispersion.total_bad,
        total_squares=dispersion.total_squares,
    )


def factor(dispersion: Dispersion) -> float:
    """By what to divide the logarithm of evidence: at least 1. A heuristic: it is measured, not
    proven, that this keeps false alarms rare (see docs/gates.md).

    The upper limit is 2.5 after 5 windows without bursts, 1.2 after 100. It is no more than if all
    bad events of a window were one burst: errors that come one by one show no bursts.
    """
    chi_squared, degrees = _pearson(dispersion)
    degrees += PRIOR_WINDOWS
    upper = (chi_squared + PRIOR_WINDOWS) / low_quantile(degrees)
    return max(1.0, min(upper, _largest(dispersion)))


def _largest(dispersion: Dispersion) -> float:
    """The size of a window's bad events, as one of them finds it."""
    if not dispersion.total_bad:
        return UNSEEN
    return (dispersion.total_squares + PRIOR_BURST) / (dispersion.total_bad + 1)


def _pearson(dispersion: Dispersion) -> tuple[float, int]:
    """Chi-squared and degrees of freedom of all steps.

    If only the candidate has bad events, chi-squared is the limit for one of the baseline: its
    degrees of freedom. If only the baseline has, the candidate's bursts are still unobserved.
    """
    before = dispersion.chi_squared, dispersion.degrees
    if dispersion.candidate_bad <= 0:
        return before
    degrees = dispersion.windows - 1
    share = dispersion.candidate_bad / dispersion.bad
    chi_squared = float(degrees)
    if share < 1:
        spread = dispersion.squares - dispersion.candidate_bad * share
        chi_squared = max(0.0, spread / (share * (1 - share)))
    return before[0] + chi_squared, before[1] + degrees


def low_quantile(degrees: float) -> float:
    """What a chi-squared of so many degrees of freedom exceeds in nine of ten cases, by the
    approximation of Wilson and Hilferty.
    """
    variance = 2 / (9 * degrees)
    return float(degrees * (1 - variance - UPPER_DEVIATIONS * math.sqrt(variance)) ** 3)


# ---- Error budgets


def burn_rate(bad: float, total: float, objective_share: float) -> float:
    """How many times faster than allowed an error budget is used up: the share of bad events by the
    share that the objective tolerates. 14.4 uses up 2 % of a month's budget in an hour.
    """
    return bad / total / objective_share if total > 0 else 0.0
