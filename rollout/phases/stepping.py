"""Phase `Stepping`: judges the present step, and goes on, stops or rolls back. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import analysis, transitions
from rollout.gates import STEP_GATES
from rollout.gates.base import AwaitedApproval, Passed, Query, judge, queries
from rollout.judging import context_of, frozen_for, health_of, hold, remaining, with_progress
from rollout.model import Desired, Evidence, Observed, RollingBack, Rollout, Stepping
from rollout.sizing import demand_query
from rollout.spec.steps import ApproveStep, promoted_step
from rollout.step_context import context_of_step, with_demand, with_lack
from rollout.strategies import has_own_group
from rollout.strategies.base import FIRST_GROUP, Step, steps_digest
from rollout.targets import group_in_focus, plan_of
from rollout.transitions import PhaseChange, candidate_of
from rollout.way_back_time import exceeds_limit, is_short


def judge_step(
    rollout: Rollout,
    desired: Desired,
    phase: Stepping,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    _, _, steps = plan_of(rollout)
    group = group_in_focus(rollout, observed)
    rollout = with_demand(rollout, group, observed, evidence, now)
    health = health_of(rollout, observed)
    if steps_digest(steps) != rollout.steps_digest:
        restarted = replace(rollout, steps_digest=steps_digest(steps))
        why = "the steps of its strategy have changed"
        return transitions.enter_step(restarted, desired, 0, health, why, now)
    group = group_in_focus(rollout, observed)
    is_ungranted = has_own_group(rollout) and not phase.is_granted
    least = group.min if is_ungranted else 0  # what is missing of it is no growth by load
    rollout, health = with_progress(rollout, health, evidence, now, least)
    step = steps[phase.step]
    if step.is_routed:
        phase = with_lack(rollout, phase, step, group, evidence, now)
        rollout = replace(rollout, phase=phase)
    context = context_of(rollout, health, evidence, phase.since, now)
    context = context_of_step(context, rollout, phase, step, group)
    context = replace(
        context,
        approval=_approval(rollout, phase, step, now),
        results=analysis.results_of(rollout, context.hold),
    )
    traffic = context.traffic
    verdict = judge(STEP_GATES, context)
    if not isinstance(verdict, Passed) or rollout.paused:
        return hold(rollout, desired, verdict, health, now)
    rollout = transitions.timed(rollout, now)
    needs_grant = traffic is not None and not traffic.is_granted
    is_last = phase.step + 1 == len(steps)
    frozen = frozen_for(evidence, candidate_of(rollout))
    if frozen and (needs_grant or not is_last):
        waiting = hold(rollout, desired, verdict, health, now)
        return replace(waiting, waiting_for=frozen.why, frozen=frozen)
    if traffic and needs_grant:
        if exceeded := exceeds_limit(rollout, step, observed):
            return _stop(rollout, desired, exceeded, observed, now)
        basis = traffic.basis or ""
        return transitions.grant(rollout, desired, phase, step, health, basis, now)
    if is_last:
        return transitions.start_baking(rollout, desired, health, verdict.why, now)
    following = _following(rollout, phase, steps)
    if exceeded := exceeds_limit(rollout, steps[following], observed):
        return _stop(rollout, desired, exceeded, observed, now)
    goal = steps[following].goal
    why = f"{verdict.why}; step {following + 1} of {len(steps)} asks for {goal}"
    return transitions.enter_step(rollout, desired, following, health, why, now)


def _following(rollout: Rollout, phase: Stepping, steps: tuple[Step, ...]) -> int:
    if rollout.promoted:
        is_approved = candidate_of(rollout).is_restored
        return promoted_step(steps, phase.step, is_approved=is_approved)
    return phase.step + 1


def _approval(
    rollout: Rollout, phase: Stepping, step: Step, now: datetime
) -> AwaitedApproval | None:
    """While a person has paused the rollout, the time to approve it does not run. What a rollback
    restores was approved before it served.
    """
    if not isinstance(step, ApproveStep) or candidate_of(rollout).is_restored:
        return None
    until = phase.since + timedelta(seconds=step.approve.timeout_seconds)
    if rollout.paused and rollout.paused.since < until:
        until += now - rollout.paused.since
    return AwaitedApproval(step.approve.by, until, step.approve.on_timeout, phase.approved_by)


def _stop(
    rollout: Rollout, desired: Desired, exceeded: str, observed: Observed, now: datetime
) -> PhaseChange:
    """The next step would make the way back too long. That is not the release's fault: it waits for
    a stable release that is short of instances to heal, and otherwise for a person.
    """
    stable, colour = rollout.stable, rollout.serving_group or FIRST_GROUP
    if stable and has_own_group(rollout) and is_short(stable, colour, observed):
        why = f"{exceeded}, since release {stable.version} lacks healthy instances"
        return PhaseChange(rollout, desired, waiting_for=why, warnings=(why,))
    why = f"{exceeded}; promote it in spite of that, or abort it"
    return transitions.pause(rollout, desired, why, now)


def without_lost(rollout: Rollout, observed: Observed) -> Rollout:
    """During a take-over the stable release keeps no more instances than run: it may not be able to
    start another one in place of one that was lost.
    """
    stable, kept = rollout.stable, rollout.stable_kept
    if stable is None or kept is None:
        return rollout
    running = sum(
        each.is_running and each.template == stable.template
        for group in observed.groups
        for each in group.instances
    )
    return replace(rollout, stable_kept=min(kept, running))


def end_untouched(change: PhaseChange, observed: Observed, evidence: Evidence) -> PhaseChange:
    """A rollout that ends before anything was created for it needs no way back: it is over at
    once.
    """
    rollout = change.rollout
    if not isinstance(rollout.phase, RollingBack) or not evidence.has_no_template:
        return change
    if rollout.stable is None and remaining(observed):
        return change
    if any(group.colour != rollout.serving_group for group in observed.groups):
        return change
    ended = transitions.finish_rollback(rollout, change.desired, rollout.phase)
    return replace(ended, transitions=(*change.transitions, *ended.transitions))


def queries_of(rollout: Rollout, observed: Observed, now: datetime) -> tuple[Query, ...]:
    """What the gates that are due, and the size of the candidate, need to know of requests."""
    phase = rollout.phase
    if not isinstance(phase, Stepping) or rollout.paused or rollout.stable is None:
        return ()
    _, _, steps = plan_of(rollout)
    step = steps[min(phase.step, len(steps) - 1)]
    if not step.is_routed:
        return ()
    if not phase.is_granted:
        query = demand_query(candidate_of(rollout).spec, now)
        return (query,) if query else ()
    group, health = group_in_focus(rollout, observed), health_of(rollout, observed)
    context = context_of(rollout, health, Evidence(), phase.since, now)
    return queries(STEP_GATES, context_of_step(context, rollout, phase, step, group))
