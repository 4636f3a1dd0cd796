"""What the gates of a step judge by beside health: what the step moves, how long it holds, and the
requests that it needs. Pure.

Called by `advance`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout.gates.base import GateContext, RequestGoal, Traffic
from rollout.gates.requests import answer_for, unmeasured_since
from rollout.gates.traffic import PROPAGATION
from rollout.model import Demand, Evidence, GroupTarget, Observed, Rollout, Stepping
from rollout.sizing import present_instances, present_rate, update_demand
from rollout.spec.metrics import is_same_machine
from rollout.strategies import has_own_group
from rollout.strategies.base import FIRST_GROUP, Step


def context_of_step(
    context: GateContext, rollout: Rollout, phase: Stepping, step: Step, group: GroupTarget
) -> GateContext:
    """The context of the step; `group` is the candidate's."""
    is_promoted = rollout.promoted or phase.is_promoted
    is_held = not is_promoted and (not step.is_routed or phase.is_granted)
    hold = timedelta(seconds=step.hold_seconds if is_held else 0)
    if not step.is_routed:
        return replace(context, hold=hold)
    traffic = Traffic(
        step.goal,
        group.min,
        phase.is_granted,
        phase.routed_since,
        group.basis,
        phase.unmeasured_since,
    )
    requests = _request_goal(rollout, phase, step, group)
    return replace(context, hold=hold, traffic=traffic, requests=requests)


def _request_goal(
    rollout: Rollout, phase: Stepping, step: Step, group: GroupTarget
) -> RequestGoal | None:
    """None while no request can have reached the candidate because of the step."""
    since = phase.routed_since
    is_promoted = rollout.promoted or phase.is_promoted
    if not step.min_requests or not phase.is_granted or since is None or is_promoted:
        return None
    begin = since + PROPAGATION
    end = begin + timedelta(seconds=step.hold_seconds)
    return RequestGoal(step.min_requests, group.colour, begin, end, phase.unmeasured_since)


def with_lack(
    rollout: Rollout,
    phase: Stepping,
    step: Step,
    group: GroupTarget,
    evidence: Evidence,
    now: datetime,
) -> Stepping:
    """The phase with since when what it needs to know of requests has not been measured."""
    before = phase.unmeasured_since
    if not phase.is_granted:
        return replace(phase, unmeasured_since=(before or now) if group.basis is None else None)
    goal = _request_goal(rollout, phase, step, group)
    since = unmeasured_since(before, answer_for(goal, evidence), now) if goal else None
    return replace(phase, unmeasured_since=since)


def with_demand(
    rollout: Rollout, group: GroupTarget, observed: Observed, evidence: Evidence, now: datetime
) -> Rollout:
    """The rollout with the demand of now. `group` is what the candidate's has been given so far."""
    stable, candidate = rollout.stable, rollout.candidate
    phase, serving = rollout.phase, rollout.serving_group or FIRST_GROUP
    if not stable or not candidate or not isinstance(phase, Stepping) or not has_own_group(rollout):
        return rollout
    has_requests = phase.weight > 0
    rate = present_rate(evidence, serving, group.colour, has_requests=has_requests, now=now)
    is_comparable = has_requests and is_same_machine(stable.spec, candidate.spec)
    own = observed.group(group.colour) if is_comparable else None
    instances = present_instances(observed.group(serving), own, group.min, stable.spec.scaling.min)
    present = Demand(instances, rate if isinstance(rate, float) else None)
    demand = update_demand(rollout.demand, present, stable, candidate)
    progress = rollout.progress
    if progress and demand != rollout.demand:
        progress = replace(progress, improved_at=now)  # more instances: their time begins now
    return replace(rollout, demand=demand, progress=progress)
