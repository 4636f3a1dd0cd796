"""Phases `RollingBack` and `Retiring`: the candidate, or everything, goes once it has drained.
Pure.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import rollback, routing, transitions
from rollout.judging import wait
from rollout.model import Desired, Evidence, Observed, Release, Retiring, RollingBack, Rollout
from rollout.rollback import WayBack
from rollout.spec.compatibility import cannot_share_group
from rollout.spec.defaults import progress_deadline_seconds
from rollout.strategies import strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP
from rollout.targets import fleet_of
from rollout.transitions import PhaseChange, candidate_of
from rollout.way_back_time import healthy_and_needed, weight_to_leave


def judge_rollback(
    rollout: Rollout,
    desired: Desired,
    phase: RollingBack,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    """End, find another way, give way to a newer release, or wait: see `rollout/rollback.py`."""
    if (failure := rollout.failure) and phase.outcome in ("superseded", "aborted"):
        return transitions.fail_rollback(rollout, desired, phase, failure)
    rollout = _pace(rollout, desired, phase, observed, now)
    if isinstance(rollout.phase, RollingBack) and rollout.phase.weight:
        why = f"the candidate keeps {rollout.phase.weight / 10:g} % of the requests until the"
        why += " stable release has the instances for them"
        return replace(wait(rollout, desired, why, evidence), warnings=(why,))
    rollout = _drain(rollout, observed, now)
    if drains := _draining(rollout):
        if transitions.has_newer(rollout, desired) and desired.release:
            drains += f"; release {desired.release.version} may take over after that"
        return wait(rollout, desired, drains, evidence)
    phase = rollout.phase if isinstance(rollout.phase, RollingBack) else phase
    way = _way_back(rollout, observed, evidence)
    if way.is_done or rollback.ends_short(phase, way, now):
        return transitions.finish_rollback(rollout, desired, phase, short=way.waiting_for)
    phase = rollback.update(phase, way, now)
    if problem := rollback.lacks_room(phase, way, now):
        return transitions.roll_back_in_place(rollout, desired, phase, problem, now)
    newer = _successor(rollout, desired, observed)
    stalled = rollback.stalled_because(phase, way, now, is_waited_for=newer is not None)
    why = phase.stalled or (stalled.message if stalled else "")
    if why and newer:
        stable_kept = way.healthy if rollout.stable else None
        return transitions.take_over(rollout, desired, phase, why, stable_kept, now)
    if stalled and not phase.stalled:
        return transitions.stall(rollout, desired, phase, stalled, needs_place=way.has_other_group)
    waiting = replace(rollout, phase=replace(phase, stalled=why))
    waited = wait(waiting, desired, way.waiting_for, evidence)
    return replace(waited, warnings=() if why else waited.warnings)


def _pace(
    rollout: Rollout, desired: Desired, phase: RollingBack, observed: Observed, now: datetime
) -> Rollout:
    """The rollout with the weight that its candidate keeps: none, unless the stable release lacks
    instances and the candidate has healthy ones. Without progress until the deadline, all requests
    go back too: a rollback must end. But if no instance of the stable release is healthy, that
    would end what serves, so only a newer release makes it so.
    """
    stable, candidate = rollout.stable, candidate_of(rollout)
    if not phase.weight or stable is None:
        return rollout
    colour = rollout.serving_group or FIRST_GROUP
    healthy, needed = healthy_and_needed(stable, colour, observed)
    weight = weight_to_leave(phase.weight, healthy, needed)
    groups = (group for group in observed.groups if group.colour != colour)
    instances = [each for group in groups for each in group.instances]
    is_able = any(each.is_healthy and each.template == candidate.template for each in instances)
    patience = timedelta(seconds=progress_deadline_seconds(stable.spec))
    is_overdue = now - (phase.improved_at or phase.since) >= patience
    may_end = healthy > 0 or transitions.has_newer(rollout, desired)
    if not is_able or (is_overdue and may_end):
        weight = 0
    if weight == phase.weight:
        return rollout
    paced = replace(phase, weight=weight, routed_since=None, improved_at=now)
    return replace(rollout, phase=paced)


def _drain(rollout: Rollout, observed: Observed, now: datetime) -> Rollout:
    """The rollout on its way back or out, with whether the groups that leave have drained."""
    phase = rollout.phase
    if not isinstance(phase, RollingBack | Retiring) or phase.is_drained:
        return rollout
    end = routing.drained_at(rollout)
    is_over = end is not None and now >= end
    if not is_over and not routing.has_nothing_in_flight(rollout, observed):
        return rollout
    if isinstance(phase, RollingBack):
        drained = replace(phase, is_drained=True, improved_at=now, stalled="")
        return replace(rollout, phase=drained)
    return replace(rollout, phase=replace(phase, is_drained=True))


def _draining(rollout: Rollout) -> str:
    """What must drain before anything is removed; empty if nothing must."""
    phase, end = rollout.phase, routing.drained_at(rollout)
    if not isinstance(phase, RollingBack | Retiring) or phase.is_drained or end is None:
        return ""
    group = "the candidate's group" if isinstance(phase, RollingBack) else "the model"
    return f"{group} drains until {end:%Y-%m-%dT%H:%M:%SZ}"


def _way_back(rollout: Rollout, observed: Observed, evidence: Evidence) -> WayBack:
    stable, candidate = rollout.stable, candidate_of(rollout)
    if stable is None:
        return rollback.observe_removal(candidate, observed, evidence)
    colour = rollout.serving_group or FIRST_GROUP
    target = next(group for group in fleet_of(rollout, observed).groups if group.colour == colour)
    return rollback.observe_return(stable, target, observed, evidence)


def _successor(rollout: Rollout, desired: Desired, observed: Observed) -> Release | None:
    """The newer release that a rollback may give way to. That is not the stable release, published
    again: the rollback leads to it. Nor is it one that needs a group which has to go before: that
    of the candidate, or of a first release that it cannot share. And while the candidate's group
    may get requests, none is: it would be removed with requests in flight.
    """
    newer, stable, candidate = desired.release, rollout.stable, candidate_of(rollout)
    phase = rollout.phase
    is_draining = isinstance(phase, RollingBack) and not phase.is_drained
    if newer is None or newer.generation == candidate.generation or (stable and is_draining):
        return None
    if stable:
        others = {group.colour for group in observed.groups} - {rollout.serving_group}
        needed = strategy_of(newer).candidate_group(swap_of(rollout, newer))
        return None if needed in others or newer.version == stable.version else newer
    return None if observed.groups and cannot_share_group(candidate.spec, newer.spec) else newer
