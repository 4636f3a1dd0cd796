"""How many instances of a candidate a share of the requests needs, and what the demand is. Pure.

Called by the strategies that run a candidate in its own group, and by `advance`, which measures the
demand in each pass. Demand is requests a second where the candidate declares what one instance
takes and a source of metrics counts them; else it is the number of instances of the stable release
that the autoscaler recommends, converted if both releases declare what one instance takes.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from rollout.deferred import dataclass
from rollout.measurements import Answer, CounterReset, Delayed, Measured, RequestCount, Unmeasured
from rollout.model import FULL_WEIGHT, Colour, Demand, Evidence, GroupView, Release
from rollout.spec.metrics import instance_rate, needs_rate
from rollout.spec.model import Spec

HEADROOM_PERCENT = 110
"""A candidate gets so many instances for each 100 that its requests need: its caches are cold, and
the split between backend services is not exact at every moment."""
DEMAND_WINDOW = timedelta(minutes=10)
"""Long enough for metrics that arrive up to 270 s late."""
SHORTEST_SPAN = timedelta(seconds=60)


@dataclass(frozen=True)
class Size:
    """How many instances are needed, and from what that follows, for people."""

    instances: int
    basis: str


def size_for(weight: int, demand: Demand, stable: Release, candidate: Release) -> Size | None:
    """The instances that take `weight` of `FULL_WEIGHT` requests, rounded up: 5 % of what 10
    instances take needs 1, and all of it 11. None: the requests a second must be measured first. A
    release that a rollback restores is not kept from serving by that.
    """
    declared, before = instance_rate(candidate.spec), instance_rate(stable.spec)
    rate, count = demand.requests_per_second, demand.instances
    if declared and rate is not None:
        basis = f"from {rate:.4g} requests/s and declared {declared:g} requests/s an instance"
        return Size(_share(weight, rate / declared), basis)
    instances = f"from {count} recommended instances"
    if declared and before and declared != before:
        basis = f"{instances} of declared {before:g} requests/s, and declared {declared:g}"
        return Size(_share(weight, count * before / declared), basis)
    if needs_rate(stable.spec, candidate.spec) and not candidate.is_restored:
        return None
    return Size(_share(weight, count), instances)


def _share(weight: int, instances: float) -> int:
    """Rounded up, but not because a float is a hair above an integer."""
    return math.ceil(round(instances * weight * HEADROOM_PERCENT / (FULL_WEIGHT * 100), 6))


# ---- Demand


def demand_query(candidate: Spec, now: datetime) -> RequestCount | None:
    """None: nobody would use the answer."""
    is_used = instance_rate(candidate) is not None
    return RequestCount("demand", now - DEMAND_WINDOW, now) if is_used else None


def update_demand(
    stored: Demand | None, present: Demand, stable: Release, candidate: Release
) -> Demand:
    """The most since the rollout began. It changes only if another number of instances follows, so
    that it is seldom written.
    """
    if stored is None:
        return present
    rates = [each for each in (stored.requests_per_second, present.requests_per_second) if each]
    most = Demand(max(stored.instances, present.instances), max(rates, default=None))
    before = size_for(FULL_WEIGHT, stored, stable, candidate)
    after = size_for(FULL_WEIGHT, most, stable, candidate)
    return stored if before and after and before.instances == after.instances else most


def present_instances(
    serving: GroupView | None, own: GroupView | None, own_min: int, least: int
) -> int:
    """How many instances the requests need now: what the autoscaler of the serving group
    recommends, and that of the candidate's own group once it has outgrown the size that it was
    given. A group without a recommendation counts with its size; without a group it is `least`.
    """
    if serving is None:
        return least
    size = serving.recommended_size or serving.target_size
    outgrown = (own.recommended_size or 0) if own else 0
    return size + (outgrown if outgrown > own_min else 0)


def present_rate(
    evidence: Evidence, serving: Colour, own: Colour, *, has_requests: bool, now: datetime
) -> float | Answer | None:
    """The requests a second that both groups get now, or why that is not measured; None if it was
    not asked. `has_requests`: the candidate's own group gets some of them.
    """
    answers = evidence.answers(RequestCount("demand", now, now))
    if not answers:
        return None
    rate = 0.0
    for colour in (serving, own) if has_requests else (serving,):
        answer = answers.get(colour)
        if not isinstance(answer, Measured):
            return answer
        if answer.until - answer.since < SHORTEST_SPAN:
            return Unmeasured("partial", f"too few samples of the {colour} group")
        rate += answer.per_second
    return rate


def lack_of_demand(evidence: Evidence, now: datetime) -> str:
    """Why requests a second are not measured; empty if they are, or were not asked for."""
    rate = present_rate(evidence, "blue", "green", has_requests=True, now=now)
    return rate.why if isinstance(rate, Unmeasured | CounterReset | Delayed) else ""
