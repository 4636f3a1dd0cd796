"""Gate `traffic`: capacity before requests, and a route long enough in the load balancer.

A URL map takes a while to reach every front end, so a step's hold begins after that. A step that
moves no requests passes.
"""

from __future__ import annotations

from datetime import timedelta

from rollout.gates.base import (
    Failed,
    GateContext,
    Inconclusive,
    Passed,
    Query,
    Traffic,
    Verdict,
    Waiting,
    duration,
)
from rollout.sizing import lack_of_demand
from rollout.spec.defaults import progress_deadline_seconds
from rollout.spec.way_back import PROPAGATION_SECONDS

PROPAGATION = timedelta(seconds=PROPAGATION_SECONDS)
"""A route is trusted only after this."""


class TrafficGate:
    def queries(self, context: GateContext) -> tuple[Query, ...]:
        return ()

    def judge(self, context: GateContext) -> Verdict:
        traffic = context.traffic
        if traffic is None:
            return Passed("")
        if traffic.basis is None and not traffic.is_granted:
            return _lacks_demand(context, traffic)
        if context.health.healthy < traffic.capacity:
            return _lacks_capacity(context, traffic)
        if not traffic.is_granted:
            return Passed("")
        goal = traffic.goal
        if traffic.routed_since is None:
            return Waiting(f"the URL map does not send {goal} to the candidate yet")
        end = traffic.routed_since + PROPAGATION + context.hold
        if context.now < end:
            return Waiting(f"{goal} go to the candidate, until {end:%Y-%m-%dT%H:%M:%SZ}")
        span = duration(context.now - traffic.routed_since)
        return Passed(f"{goal} went to the candidate for {span}")


def _lacks_demand(context: GateContext, traffic: Traffic) -> Verdict:
    """A candidate of unknown size must not get requests. After the deadline a person is asked."""
    deadline = timedelta(seconds=progress_deadline_seconds(context.health.release.spec))
    span = context.now - (traffic.unmeasured_since or context.now)
    lack = lack_of_demand(context.evidence, context.now) or "it has not been measured yet"
    why = f"for {traffic.goal}: {lack}"
    if span < deadline:
        return Waiting(f"the demand is not measured {why}")
    return Inconclusive(f"the demand could not be measured for {duration(span)} {why}")


def _lacks_capacity(context: GateContext, traffic: Traffic) -> Verdict:
    """What the environment keeps away has no deadline."""
    health = context.health
    basis = f" ({traffic.basis})" if traffic.basis else ""
    needs = f"{traffic.goal} need {traffic.capacity} instances{basis}"
    why = f"{needs}, and {health.healthy} of release {health.release.version} are healthy"
    deadline = timedelta(seconds=progress_deadline_seconds(health.release.spec))
    if context.is_halted or context.now - context.progress.improved_at < deadline:
        return Waiting(why)
    return Failed("timeout", f"no progress for {duration(deadline)}: {why}")
