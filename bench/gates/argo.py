"""Argo Rollouts' rule: in each step an AnalysisRun measures the candidate once a minute, compares
the value with a constant, and fails after more than `failureLimit` failed measurements.

The metrics are the shares of failed and of slow requests in the last minute. A minute without
requests measures nothing. Once 100 % are reached the run goes on, as a background analysis does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.gates.releases import ERRORS, LATENCY, SLOW_SHARE
from bench.gates.rollouts import Answer, Moment

EXAMPLE = {ERRORS: 0.05, LATENCY: 0.05 + SLOW_SHARE}
"""The documentation's example is a success rate of at least 95 % with `failureLimit: 3`; the
slow requests get as much above what is normal."""
TUNED = {ERRORS: 0.015, LATENCY: 1.5 * SLOW_SHARE}
"""Halfway between 1 % errors, which most of the releases have, and twice as many: what somebody
would choose who has measured the service well."""


@dataclass(frozen=True)
class Argo:
    limits: Mapping[str, float]
    failure_limit: int = 3

    def answer(self, moment: Moment) -> Answer:
        for gate, limit in self.limits.items():
            sides = (minute[gate].candidate for minute in moment.of_step)
            failed = sum(side.total > 0 and side.bad / side.total > limit for side in sides)
            if failed > self.failure_limit:
                return "roll back"
        return "go on" if moment.due else "stay"
