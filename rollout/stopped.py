"""What a pass does while the policy says `stop`. Pure.

Called by `handlers/reconcile/`. To the phases, a stop is a freeze and a pause: no rollout begins,
none goes on, no deadline and no bake runs, and a candidate that fails still rolls back. Beside
that, nothing is applied: no step, no repair, no removal. Only a rollback is, from its decision to
its end, whether a person or a gate asked for it; with `rollbacks` it stops as well.

    stop set     condition `Stopped`, since the first pass that is stopped
    each pass    decides as usual; what is no rollback is neither saved nor applied
    stop removed clocks move by the time of the stop, and the next decision is as if none had been
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import transitions
from rollout.model import (
    Baking,
    Condition,
    Decision,
    Desired,
    Evidence,
    Frozen,
    Pause,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
)
from rollout.policy.stop import Stop
from rollout.state import ModelState

CONDITION = "Stopped"
LOOK_EVERY = timedelta(seconds=60)


def is_rollback(rollout: Rollout, desired: Desired) -> bool:
    """Whether the rollout goes back to a release that has served, or is about to."""
    match rollout.phase:
        case RollingBack():
            return True
        case Stepping() | Baking():
            return rollout.candidate is not None and rollout.candidate.is_restored
        case Settled():
            newer, stable = desired.release, rollout.stable
            is_stable = newer and stable and newer.generation == stable.generation
            return bool(newer and newer.is_restored and not is_stable)
    return False


def start(state: ModelState, now: datetime) -> ModelState:
    """The state once the stop is over: its time counts for nothing. What a pause covers, `resume`
    moves.
    """
    since = _since(state)
    if since is None:
        return state
    rollout = state.rollout
    until = rollout.paused.since if rollout.paused else now
    span, last = max(until - since, timedelta(0)), rollout.last_observed_at
    moved = transitions.shift_clocks(
        transitions.shift(rollout, span, now), now - last if last else timedelta(0)
    )
    kept, watched = rollout.kept, rollout.watched_since
    moved = replace(
        moved,
        last_observed_at=now if last else None,
        watched_since=min(watched + span, now) if watched else None,
        kept=replace(kept, until=kept.until + span) if kept and not kept.is_leaving else kept,
    )
    others = tuple(each for each in state.conditions if each.type != CONDITION)
    return replace(state, rollout=moved, conditions=others)


def as_paused(state: ModelState, stop: Stop, now: datetime) -> Rollout:
    """The rollout as `advance` gets it while stopped."""
    rollout = state.rollout
    is_halted = isinstance(rollout.phase, Stepping | Baking) and rollout.paused is None
    if not is_halted or is_rollback(rollout, state.desired):
        return rollout
    return replace(rollout, paused=Pause(stop.why, _since(state) or now))


def evidence_while(state: ModelState, stop: Stop, evidence: Evidence, now: datetime) -> Evidence:
    """What the pass learned, so that nothing begins, and a route that is not restored now is not
    taken for restored.
    """
    frozen = evidence.frozen
    commanded = frozen.rollbacks if frozen else False
    evidence = replace(evidence, frozen=Frozen(stop.why, now + LOOK_EVERY, commanded))
    phase = state.rollout.phase
    if is_rollback(state.rollout, state.desired) or not isinstance(phase, Stepping | Baking):
        return evidence
    return replace(evidence, is_routed=phase.routed_since is not None)


def goes_on(state: ModelState, decision: Decision) -> bool:
    """Whether the decision is part of a rollback, and its plan may be applied."""
    if is_rollback(decision.rollout, decision.desired):
        return True
    ends = isinstance(decision.rollout.phase, Settled)
    return ends and is_rollback(state.rollout, state.desired)


def hold(
    state: ModelState, decision: Decision, stop: Stop, now: datetime, *, has_changes: bool
) -> Decision:
    """The decision without what it would change. What was learned of the instances stays, and so
    does a pause that a gate asked for. `has_changes`: whether it had a plan.
    """
    before, after = state.rollout, decision.rollout
    entries = decision.transitions
    if _place(after) == _place(before) and decision.desired == state.desired:
        is_ours = after.paused is not None and after.paused.why == stop.why
        rollout = replace(after, paused=before.paused if is_ours else after.paused)
    else:
        rollout, entries = before, ()
    is_waiting = has_changes or decision.requeue_at is not None or bool(decision.transitions)
    since = _since(state) or now
    others = tuple(each for each in decision.conditions if each.type not in (CONDITION, "Frozen"))
    if before.paused is None and rollout.paused is None:
        others = tuple(each for each in others if each.type != "Paused")
    stopped = (Condition(CONDITION, stop.why, since),) if is_waiting else ()
    return replace(
        decision,
        rollout=rollout,
        desired=state.desired,
        requeue_at=now + LOOK_EVERY if is_waiting else None,
        waiting_for=stop.why if is_waiting else decision.waiting_for,
        transitions=entries,
        conditions=(*others, *stopped),
    )


def hold_all(state: ModelState, stop: Stop, now: datetime) -> ModelState:
    """The state of a model of which nothing is even read, since rollbacks stop too."""
    if state.requeue_at is None and isinstance(state.rollout.phase, Settled):
        return state
    others = tuple(each for each in state.conditions if each.type != CONDITION)
    stopped = Condition(CONDITION, stop.why, _since(state) or now)
    return replace(
        state,
        conditions=(*others, stopped),
        waiting_for=stop.why,
        requeue_at=now + LOOK_EVERY,
    )


def _since(state: ModelState) -> datetime | None:
    return next((each.since for each in state.conditions if each.type == CONDITION), None)


def _place(rollout: Rollout) -> tuple[object, ...]:
    """Where a rollout is, without what is learned on the way."""
    phase = rollout.phase
    granted = (phase.step, phase.weight, phase.granted) if isinstance(phase, Stepping) else ()
    releases = (rollout.stable, rollout.candidate, rollout.previous)
    settled = (rollout.watched_since, rollout.kept, rollout.serving_group, rollout.failed_digests)
    return (type(phase), granted, *releases, *settled)
