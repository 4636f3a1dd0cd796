"""Decides where a rollout goes next: `advance(rollout, desired, observed, evidence, now)`.

Called by `handlers/reconcile/decide.py` once per pass. Pure and total: the present phase decides.
What people ask for was applied when it was accepted (`rollout/intents.py`).

    Settled ──newer release──> Stepping ──last step passed──> Baking ──baked──> Settled (stable)
                                  └──failed, aborted, superseded──> RollingBack <──┘
                                               └──none of the candidate left──> Settled (as before)
    any ──retire──> Retiring ──nothing left──> Settled (nothing serves)

Invariant: a phase ends only because the observed state shows that it may; nothing here knows
whether a call succeeded. When a phase ends is decided in `phases`, how it ends in `transitions.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from rollout import analysis, capacity_lease, moves, requeue, routing, transitions
from rollout.conditions import conditions_of
from rollout.judging import first, remaining, wait
from rollout.model import (
    Baking,
    Decision,
    Desired,
    Evidence,
    Observed,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.phases.baking import judge_bake
from rollout.phases.leaving import _drain, _draining, judge_rollback
from rollout.phases.newer import yield_to_newer
from rollout.phases.settled import judge_settled
from rollout.phases.stepping import end_untouched, judge_step, without_lost
from rollout.targets import target_of
from rollout.transitions import PhaseChange
from rollout.way_back_time import seconds_to_roll_back

OBSERVED_EVERY = timedelta(seconds=60)


def advance(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> Decision:
    seen = mark_observed(rollout, now, evidence.routine_interval)
    change = decide(moves.observe(seen, evidence, now), desired, observed, evidence, now)
    change = replace(change, rollout=moves.follow(rollout, change.rollout))
    target = target_of(change.rollout, change.desired, observed)
    longest = requeue.interval(change.rollout, now) or timedelta(0)
    lease = capacity_lease.renew(change.rollout.capacity_lease, target, observed, now, longest)
    return Decision(
        rollout=replace(change.rollout, capacity_lease=lease),
        desired=change.desired,
        target=target,
        requeue_at=requeue.after_decision(
            change.rollout,
            has_transitions=bool(change.transitions),
            frozen_until=change.frozen.until if change.frozen else None,
            is_scarce=bool(change.scarce) or change.is_delayed,
            now=now,
        ),
        waiting_for=change.waiting_for or moves.waiting_for(change.rollout),
        transitions=change.transitions,
        conditions=conditions_of(
            change.rollout, change.frozen, change.scarce, change.warnings, now
        ),
        seconds_to_roll_back=seconds_to_roll_back(change.rollout, observed, now),
    )


def mark_observed(
    rollout: Rollout, now: datetime, routine_interval: timedelta = timedelta(0)
) -> Rollout:
    """The rollout as observed now. The time by which the pass is late counts neither as bake time
    nor toward a deadline. A pause counts for nothing anyway: `resume` shifts by all of it. While
    many models share the reads, routine passes are `routine_interval` apart.

    bake        |#######|  not observed  |######|    the bake ends later by the gap
    """
    last = rollout.last_observed_at
    if isinstance(rollout.phase, Settled):
        return replace(rollout, last_observed_at=None)
    if last is None:
        return replace(rollout, last_observed_at=now)
    gap = now - last
    if gap < OBSERVED_EVERY:
        return rollout
    if rollout.paused:
        return replace(rollout, last_observed_at=now)
    planned = requeue.interval(rollout, last) or timedelta(0)
    if requeue.is_routine(rollout):
        planned = max(planned, routine_interval)
    late = gap - planned
    if late > OBSERVED_EVERY:
        rollout = transitions.shift_clocks(transitions.shift(rollout, late, now), late)
    return replace(rollout, last_observed_at=now)


def decide(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    """What the gates say, and what somebody changed in the route, is recorded with the decision."""
    updated = analysis.update(rollout, evidence, now)
    after = transitions.record_verdicts(updated, desired, now)
    change = _restore_route(after.rollout, desired, observed, evidence, now)
    return replace(change, transitions=(*after.transitions, *change.transitions))


def _restore_route(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    """Somebody may have changed the route."""
    is_edited = routing.is_edited(rollout, evidence)
    rollout = routing.observe_route(rollout, evidence, now)
    if not is_edited or isinstance(rollout.phase, Settled):
        return _judge(rollout, desired, observed, evidence, now)
    edited = transitions.restore_route(rollout, desired, evidence.edited_by, now)
    if edited.rollout.paused != rollout.paused:
        return edited
    change = _judge(edited.rollout, desired, observed, evidence, now)
    return replace(change, transitions=(*edited.transitions, *change.transitions))


def _judge(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    match rollout.phase:
        case Settled() if rollout.stable and desired.release is None:
            why = "the release that was published after the retirement has failed"
            return transitions.retire(rollout, desired, why, now)
        case Settled():
            warnings = tuple(problem.message for problem in evidence.refusals)
            change = judge_settled(rollout, desired, observed, evidence, now)
            return replace(change, warnings=(*change.warnings, *warnings))
        case Stepping() as phase:
            rollout = without_lost(rollout, observed)
            change = yield_to_newer(rollout, desired, observed, evidence, now) or judge_step(
                rollout, desired, phase, observed, evidence, now
            )
            if rollout.stable_kept is not None:
                return change  # what it took over is not in order yet
            return end_untouched(change, observed, evidence)
        case Baking() as phase:
            rollout = without_lost(rollout, observed)
            newer = yield_to_newer(rollout, desired, observed, evidence, now)
            return newer or judge_bake(rollout, desired, phase, observed, evidence, now)
        case RollingBack():
            return judge_rollback(rollout, desired, rollout.phase, observed, evidence, now)
        case Retiring():
            rollout = _drain(rollout, observed, now)
            if drains := _draining(rollout):
                return wait(rollout, desired, drains, evidence)
            waiting_for = remaining(observed) or first(evidence.pending_changes)
            if waiting_for:
                return wait(rollout, desired, waiting_for, evidence)
            return transitions.finish_retirement(rollout, desired)
        case _:
            assert_never(rollout.phase)
