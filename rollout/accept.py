"""Applies an accepted release or command to a rollout: `accept(rollout, desired, intent, now)`.
Pure.

Called by the intake. `rollout/intents.py` says what is desired once the intent has joined the line;
the difference to what was desired before is made here, by the transitions. Invariant: each intent
is answered by a recorded transition, and no phase is claimed that has not been observed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from rollout import transitions
from rollout.intents import (
    ALREADY_PROMOTED,
    NEWER,
    NOT_ROLLED_OUT,
    NOTHING_EXISTS,
    PAUSED_ALREADY,
    Fold,
    Slot,
    fold,
    forget,
    join,
    pending_release,
    publishes,
    release_in_progress,
    why,
    with_top,
)
from rollout.model import (
    Desired,
    Intent,
    Outcome,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Stepping,
    Transition,
    phase_name,
)
from rollout.state import release_in_focus
from rollout.step_controls import awaited_step, is_timed_out, step_refusal
from rollout.transitions import PhaseChange

OF_A_STEP = ("approve", "promote", "retry")
"""Commands about the step or bake that a rollout is in; `promote` only if it is not full."""
LIFTS_PAUSE = ("promote", "resume", "retry")


def accept(
    rollout: Rollout,
    desired: Desired,
    intent: Intent,
    now: datetime,
    release: Release | None = None,
) -> PhaseChange:
    """The change that an intent makes; `release` is the one that it publishes."""
    before = fold(rollout, desired)
    joined = join(desired, intent)
    after = fold(rollout, joined, release)
    in_line = with_top(joined, after)
    if publishes(intent) or intent.verb == "rollback":
        in_line = replace(in_line, generation=max(desired.generation, intent.generation))
    change = PhaseChange(rollout, in_line)
    for each in (pending_release(rollout, desired), release):
        if each:
            change = _then(change, _pending(change, intent, each, before, after, release))
    change = _then(change, _restore(change, intent, desired, after))
    if after.is_retired and not after.slots:
        change = _then(change, _retire(change, after, now))
    elif release_in_progress(rollout):
        change = _then(change, _candidate(change, intent, before, after, now))
    if not change.transitions:
        change = _change_nothing(change, intent, _why_nothing(change, intent, after))
    line = tuple(
        replace(each, target=after.targets.get(each.event_id, each.target))
        for each in change.desired.line
    )
    return replace(change, desired=forget(change.rollout, replace(change.desired, line=line), now))


def _pending(
    change: PhaseChange,
    intent: Intent,
    release: Release,
    before: Fold,
    after: Fold,
    new: Release | None,
) -> PhaseChange:
    """What becomes of a release that has not begun."""
    origin = "published" if release is new else "desired"
    slot = after.slot_of(release)
    goal = change.desired.release
    is_goal = goal is not None and goal.generation == release.generation
    if slot is None or not is_goal:
        outcome, ended = after.ends.get(release.generation, ("superseded", NEWER))
        transition = _end(release, origin, outcome, ended)
        rollout = transitions.remember_failed(change.rollout, release, outcome)
        return replace(change, rollout=rollout, transitions=(transition,))
    found = before.slot_of(release) or Slot(release)
    made: list[Transition] = []
    if release is new:
        accepted = Transition(
            release.version,
            origin,
            "desired",
            _published(intent, release),
            inherits_from=release.inherits_from,
        )
        made.append(accepted)
    if slot.promoted and not found.promoted:
        made.append(Transition(release.version, "desired", "promoted", why(intent, "promoted")))
    if slot.paused and not found.paused:
        made.append(Transition(release.version, "desired", "paused", slot.paused))
    elif found.paused and not slot.paused and not made:
        made.append(Transition(release.version, "desired", "desired", why(intent, "resumed")))
    return replace(change, transitions=tuple(made))


def _end(release: Release, origin: str, outcome: Outcome, why_ended: str) -> Transition:
    return Transition(release.version, origin, outcome, why_ended, _reason_of(outcome), outcome)


def _reason_of(outcome: Outcome) -> Reason:
    """Why a release ends by what people said: only a rejection rolls it back."""
    match outcome:
        case "aborted":
            return "aborted"
        case "rolled_back":
            return "rejected"
        case _:
            return "superseded"


def _restore(change: PhaseChange, intent: Intent, desired: Desired, after: Fold) -> PhaseChange:
    """Report that an earlier release is desired again."""
    goal, now_desired = desired.release, change.desired.release
    if now_desired is None or not now_desired.is_restored:
        return replace(change, transitions=())
    if goal and goal.generation == now_desired.generation:
        return replace(change, transitions=())
    text = f"{why(intent, 'rolled back')} to release {now_desired.version}"
    if intent.verb != "rollback":
        text = f"release {now_desired.version} is what was rolled back to"
    phase = phase_name(change.rollout.phase)
    return replace(change, transitions=(Transition(now_desired.version, phase, "desired", text),))


def _retire(change: PhaseChange, after: Fold, now: datetime) -> PhaseChange:
    rollout = change.rollout
    exists = rollout.stable or rollout.candidate
    if isinstance(rollout.phase, Retiring) or not exists:
        return replace(change, transitions=())
    retirement = next(each for each in reversed(change.desired.line) if each.verb == "retire")
    return transitions.retire(rollout, change.desired, why(retirement, "retired"), now)


def _candidate(
    change: PhaseChange, intent: Intent, before: Fold, after: Fold, now: datetime
) -> PhaseChange:
    """What becomes of the release in progress. If a newer one replaces it, the next pass decides
    how.
    """
    rollout, desired = change.rollout, change.desired
    candidate = transitions.candidate_of(rollout)
    slot, goal = after.slot_of(candidate), desired.release
    unchanged = replace(change, transitions=())
    if slot is None:
        outcome, ended = after.ends.get(candidate.generation, ("superseded", NEWER))
        is_replaced = goal is not None and pending_release(rollout, desired) is goal
        if is_replaced and outcome == "superseded":
            return unchanged
        reason = _reason_of(outcome)
        return transitions.roll_back(rollout, desired, outcome, reason, ended, now)
    found = before.slot_of(candidate) or Slot(candidate)
    is_target = after.targets.get(intent.event_id) == candidate.generation
    going_on = _without_ended_pause(rollout, intent, slot, found, now, is_target=is_target)
    made = unchanged
    is_promotion = is_target and intent.verb == "promote" and intent.is_full
    if slot.promoted and not rollout.promoted and (is_promotion or not found.promoted):
        made = _promote(going_on, desired, intent)
    elif is_target:
        made = _command(unchanged, intent, slot, going_on, after, now)
    elif going_on != rollout:
        made = _resume(unchanged, intent, now)
    if slot.paused and not found.paused and made.rollout.paused is None:
        stopped = transitions.pause(made.rollout, made.desired, slot.paused, now)
        made = _then(made, stopped)
    return made


def _without_ended_pause(
    rollout: Rollout, intent: Intent, slot: Slot, found: Slot, now: datetime, *, is_target: bool
) -> Rollout:
    """The rollout without its pause, if the intent ends that. Nobody goes on over a failure that
    had not happened yet.
    """
    paused, lifts_pause = rollout.paused, is_target and intent.verb in LIFTS_PAUSE
    if paused is None or slot.paused or not (found.paused or lifts_pause):
        return rollout
    if paused.after_failure and paused.since > intent.published_at:
        return rollout
    awaits_anew = is_timed_out(rollout, awaited_step(rollout))
    return transitions.without_pause(rollout, now, awaits_anew=awaits_anew)


def _command(
    unchanged: PhaseChange,
    intent: Intent,
    slot: Slot,
    going_on: Rollout,
    after: Fold,
    now: datetime,
) -> PhaseChange:
    """A command about the candidate that does not end it."""
    rollout, desired = unchanged.rollout, unchanged.desired
    match intent.verb:
        case "retry" if going_on != rollout:
            return transitions.judge_anew(rollout, desired, why(intent, "tried again"), now)
        case "approve" | "promote" if not intent.is_full:
            return _change_step(unchanged, intent, slot, going_on, after, now)
        case "pause" if rollout.paused:
            after.answers[intent.event_id] = PAUSED_ALREADY
        case _ if going_on != rollout:
            return _resume(unchanged, intent, now)
        case "promote":
            after.answers[intent.event_id] = ALREADY_PROMOTED
    return unchanged


def _promote(rollout: Rollout, desired: Desired, intent: Intent) -> PhaseChange:
    step, phase = awaited_step(rollout), rollout.phase
    awaited = ""
    if step and isinstance(phase, Stepping) and not phase.approved_by:
        awaited = f"; {phase_name(phase)} still needs approval by {step.approve.by}"
    return transitions.promote(rollout, desired, why(intent, "promoted") + awaited)


def _resume(change: PhaseChange, intent: Intent, now: datetime) -> PhaseChange:
    rollout = change.rollout
    awaits_anew = is_timed_out(rollout, awaited_step(rollout))
    return transitions.resume(
        rollout, change.desired, why(intent, "resumed"), now, awaits_anew=awaits_anew
    )


def _change_step(
    unchanged: PhaseChange,
    intent: Intent,
    slot: Slot,
    going_on: Rollout,
    after: Fold,
    now: datetime,
) -> PhaseChange:
    """What an approval, or a promotion that is not full, does to the present step or bake. It is
    about the one in which it was published.
    """
    rollout, desired = unchanged.rollout, unchanged.desired
    step = awaited_step(rollout)
    because = step_refusal(rollout, step, intent)
    if because:
        after.answers[intent.event_id] = because
        return _resume(unchanged, intent, now) if going_on != rollout else unchanged
    if intent.verb == "promote":
        return transitions.promote_step(going_on, desired, why(intent, "promoted"))
    if is_timed_out(rollout, step) and not slot.paused:
        going_on = transitions.without_pause(rollout, now)
    return transitions.approve(going_on, desired, intent, why(intent, "approved"))


def _why_nothing(change: PhaseChange, intent: Intent, after: Fold) -> str:
    pending = pending_release(change.rollout, change.desired)
    is_of_step = intent.verb in OF_A_STEP and not intent.is_full
    if pending and is_of_step and after.targets.get(intent.event_id) == pending.generation:
        return f"release {pending.version} has not begun"
    rollout, because = change.rollout, after.answers.get(intent.event_id, NEWER)
    match rollout.phase:
        case RollingBack() if because == NOT_ROLLED_OUT:
            return f"release {transitions.candidate_of(rollout).version} is being rolled back"
        case Retiring() if because in (NOT_ROLLED_OUT, NOTHING_EXISTS):
            return f"{change.desired.model} is being retired"
        case _:
            return because


def _change_nothing(change: PhaseChange, intent: Intent, because: str) -> PhaseChange:
    release, phase = release_in_focus(change.rollout), phase_name(change.rollout.phase)
    version = release.version if release else ""
    unchanged = Transition(version, phase, phase, f"{intent.verb} changes nothing: {because}")
    return replace(change, transitions=(unchanged,))


def _published(intent: Intent, release: Release) -> str:
    by = f" by {intent.requested_by}" if intent.requested_by else ""
    reason = f": {intent.reason}" if intent.reason else ""
    done = "tried again" if intent.verb == "retry" else "published"
    note = ""
    if release.not_inherited:
        strategy = release.spec.rollout.strategy
        note = f"; defaults of strategy {strategy} for {release.not_inherited}, which release"
        note += f" {release.inherits_from} has for another strategy"
    return f"release {intent.version} was {done}{by}{reason}{note}"


def _then(before: PhaseChange, after: PhaseChange) -> PhaseChange:
    """Both changes, one after the other."""
    return replace(after, transitions=(*before.transitions, *after.transitions))
