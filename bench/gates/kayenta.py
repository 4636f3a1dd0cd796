"""Kayenta's rule (Spinnaker's canary analysis): a Mann-Whitney test of the two series of values per
minute, for each metric.

A metric is bad if the confidence interval of the shift lies above 0.25 times its Hodges-Lehmann
estimate. The score is the percentage of metrics that are not bad: below 75 (marginal) the canary
fails at once, and it goes on with at least 95 (pass) at the end. The interval is the asymptotic one
with ties and a correction for continuity, as in Kayenta, which follows R's `wilcox.test`. Kayenta
removes outliers only if told to; its examples do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from bench.gates.rollouts import Answer, Moment

CONFIDENCE, TOLERANCE = 0.98, 0.25
MARGINAL, PASS = 75, 95
FEWEST = 2
"""Values of each series before a test: with less there is no variance."""


@dataclass(frozen=True)
class Kayenta:
    """`every_minute`: an interval of one minute, so the test is repeated with each new value;
    otherwise it is made once, at the end of the step's hold.
    """

    every_minute: bool = True

    def answer(self, moment: Moment) -> Answer:
        if not moment.due and not self.every_minute:
            return "stay"
        minutes = moment.of_step
        if moment.weight >= 100 or len(minutes) < FEWEST:
            return "go on" if moment.due else "stay"
        passed = 0
        for gate in minutes[0]:
            both = [each[gate] for each in minutes]
            passed += not is_high(
                [
                    each.candidate.bad / each.candidate.total
                    for each in both
                    if each.candidate.total
                ],
                [each.stable.bad / each.stable.total for each in both if each.stable.total],
            )
        score = 100 * passed / len(minutes[0])
        if score < (PASS if moment.due else MARGINAL):
            return "roll back"
        return "go on" if moment.due else "stay"


def is_high(experiment: Sequence[float], control: Sequence[float]) -> bool:
    """Whether the experiment is classified as `High`."""
    if min(len(experiment), len(control)) < FEWEST or len({*experiment, *control}) == 1:
        return False
    quantile = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    if statistic(experiment, control, 0.0) <= quantile:  # even the shift 0 is in the interval
        return False
    lower, _, estimate = interval(experiment, control, CONFIDENCE)
    return lower > TOLERANCE * abs(estimate)


def interval(
    experiment: Sequence[float], control: Sequence[float], confidence: float
) -> tuple[float, float, float]:
    """The lower and upper end of the confidence interval of the shift, and its Hodges-Lehmann
    estimate, which is the median of all differences.
    """
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    estimate = median(x - y for x in experiment for y in control)
    return _root(experiment, control, quantile), _root(experiment, control, -quantile), estimate


def _root(experiment: Sequence[float], control: Sequence[float], quantile: float) -> float:
    """The shift at which the statistic, which falls as the shift grows, crosses the quantile."""
    low, high = min(experiment) - max(control), max(experiment) - min(control)
    if statistic(experiment, control, low) <= quantile:
        return low
    if statistic(experiment, control, high) >= quantile:
        return high
    precision = 1e-5 * (high - low)
    while high - low > precision:
        middle = (low + high) / 2
        if statistic(experiment, control, middle) > quantile:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def statistic(experiment: Sequence[float], control: Sequence[float], shift: float) -> float:
    """The standardised rank sum of the experiment after it is shifted back."""
    shifted = [value - shift for value in experiment]
    times = Counter([*shifted, *control])
    ranks, below = {}, 0
    for value in sorted(times):
        ranks[value] = below + (times[value] + 1) / 2
        below += times[value]
    n, m = len(experiment), len(control)
    excess = sum(ranks[value] for value in shifted) - n * (n + 1) / 2 - n * m / 2
    ties = sum(count**3 - count for count in times.values())
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 0.0
    return (excess - 0.5 * ((excess > 0) - (excess < 0))) / math.sqrt(variance)
