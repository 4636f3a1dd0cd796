"""The phase changes of a rollout, each made in one place. Pure.

Called by `advance` (on what the gates say) and by `rollout/accept.py` (on what people say). Each
function returns a `PhaseChange` that is complete: the new rollout, what stays desired, and the
transition to record.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import analysis
from rollout.deferred import dataclass
from rollout.gates.clocks import decode, encode
from rollout.gates.record import GateRecord
from rollout.gates.release_health import ReleaseHealth
from rollout.intents import desired_without
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    CapacityMode,
    Colour,
    Desired,
    Frozen,
    Intent,
    Kept,
    LatchedFailure,
    Outcome,
    Pause,
    Problem,
    Progress,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Transition,
    phase_name,
    step_name,
)
from rollout.spec.steps import WeightStep, promoted_step
from rollout.state import release_in_focus
from rollout.strategies import has_own_group, strategy_of, swap_of
from rollout.strategies.base import Step, steps_digest

MAX_FAILED_DIGESTS = 20
VERDICTS_EVERY = timedelta(minutes=10)
"""So seldom a gate's verdict is logged again, unless it is a fail."""
MOST_EDITS = 2
"""So many changes of the route by others pause a rollout."""


@dataclass(frozen=True)
class PhaseChange:
    """A decision whose target is not known yet. Without transitions the phase stays."""

    rollout: Rollout
    desired: Desired
    transitions: tuple[Transition, ...] = ()
    waiting_for: str = ""
    warnings: tuple[str, ...] = ()
    frozen: Frozen | None = None
    scarce: str = ""  # why no rollout begins, for want of capacity
    is_delayed: bool = False  # no rollout begins yet, since the source of metrics does not answer


SETTLES_WITHIN = timedelta(seconds=15)
"""A group is stable so soon after its last instance is healthy."""


# ---- Forward


def begin(rollout: Rollout, desired: Desired, now: datetime) -> PhaseChange:
    """Start toward the desired release, unless it is stable already, or was rolled back before and
    is not forced.
    """
    release, stable = desired.release, rollout.stable
    if release is None or (stable and release.generation == stable.generation):
        return PhaseChange(rollout, desired)
    if stable and release.version == stable.version:
        return _adopt(rollout, desired, release)
    if _is_refused(rollout, release):
        return _refuse(rollout, desired, release)
    steps = strategy_of(release).steps(swap_of(rollout, release))
    promoted = desired.promoted or release.is_restored
    first = promoted_step(steps, -1, is_approved=release.is_restored) if promoted else 0
    begun = replace(
        rollout,
        phase=Stepping(first, now),
        candidate=release,
        steps_digest=steps_digest(steps),
        progress=Progress(0, now),
        paused=Pause(desired.paused, now) if desired.paused else None,
        promoted=promoted,
        begun_at=now,
        last_observed_at=now,
        watched_since=None,
        route_edits=0,
        capacity=None,
        demand=None,
        gates=(),
        failure=None,
    )
    origin = f"release {rollout.stable.version} serves" if rollout.stable else "nothing serves yet"
    why = (
        f"{origin}; step {first + 1} of {len(steps)} asks for {steps[first].goal}"
        f" on release {release.version}"
    )
    transition = Transition(release.version, "settled", step_name(first), why)
    return PhaseChange(begun, replace(desired, paused="", promoted=False), (transition,))


def with_capacity(change: PhaseChange, mode: CapacityMode | None, why: str) -> PhaseChange:
    """The rollout that begins, with how it gets its instances."""
    begun = replace(change.rollout, capacity=mode)
    if not why:
        return replace(change, rollout=begun)
    first, *others = change.transitions
    explained = replace(first, why=f"{first.why}; capacity {why}")
    return replace(change, rollout=begun, transitions=(explained, *others))


def has_newer(rollout: Rollout, desired: Desired) -> bool:
    """Whether `begin` would start toward the desired release."""
    release, stable = desired.release, rollout.stable
    if release is None or (stable and release.generation == stable.generation):
        return False
    return can_begin(rollout, release)


def can_begin(rollout: Rollout, release: Release) -> bool:
    """Whether `begin` would start toward the release, if nothing else were in progress."""
    is_stable = rollout.stable is not None and release.version == rollout.stable.version
    return not is_stable and not _is_refused(rollout, release)


def _is_refused(rollout: Rollout, release: Release) -> bool:
    return release.digest in rollout.failed_digests and not release.force


def _adopt(rollout: Rollout, desired: Desired, release: Release) -> PhaseChange:
    """What serves already was published again, or is what a rollback returns to."""
    why = f"release {release.version} serves already"
    adopted = Transition(release.version, "settled", "succeeded", why, outcome="succeeded")
    after = replace(desired, paused="", promoted=False)
    return PhaseChange(replace(rollout, stable=release), after, (adopted,))


def _refuse(rollout: Rollout, desired: Desired, release: Release) -> PhaseChange:
    why = (
        f"release {release.version} was rolled back before; send retry, or publish it with"
        ' "force": true, to try it again'
    )
    phase = phase_name(rollout.phase)
    refused = Transition(release.version, phase, "refused", why, outcome="refused")
    rollout = replace(rollout, last_failed=release.version)
    return PhaseChange(rollout, desired_without(rollout, desired, release), (refused,))


def refuse_long_way_back(rollout: Rollout, desired: Desired, exceeded: str) -> PhaseChange:
    """The first step of the desired release would make the way back too long."""
    release = desired.release
    if release is None:
        return PhaseChange(rollout, desired)
    why = f"{exceeded}; a larger rollout.surge, smaller steps or strategy canary makes it shorter"
    refused = Transition(release.version, "settled", "refused", why, "policy", "refused")
    return PhaseChange(rollout, desired_without(rollout, desired, release), (refused,))


def enter_step(
    rollout: Rollout, desired: Desired, step: int, health: ReleaseHealth, why: str, now: datetime
) -> PhaseChange:
    """Enter a later step, or begin again at the first one with the weight that is granted."""
    phase = Stepping(step, now)
    if isinstance(rollout.phase, Stepping):
        before = rollout.phase
        phase = replace(phase, weight=before.weight, granted=min(before.granted, step))
    entered = replace(rollout, phase=phase, progress=_go_on(rollout, health, now))
    change = _change(rollout, entered, desired, step_name(step), why, health)
    return replace(change, waiting_for=why)


def grant(
    rollout: Rollout,
    desired: Desired,
    phase: Stepping,
    step: Step,
    health: ReleaseHealth,
    basis: str,
    now: datetime,
) -> PhaseChange:
    """The candidate has the instances for what the step sends it: from now on the route has it."""
    weight = step.per_mille if isinstance(step, WeightStep) else phase.weight
    granted = replace(
        rollout,
        phase=replace(
            phase, weight=weight, granted=phase.step + 1, routed_since=None, unmeasured_since=None
        ),
        progress=_go_on(rollout, health, now),
    )
    sized = f", sized {basis}" if basis else ""
    why = f"{health}{sized}; it gets {step.goal}"
    return _change(rollout, granted, desired, step_name(phase.step), why, health)


def start_baking(
    rollout: Rollout, desired: Desired, health: ReleaseHealth, why: str, now: datetime
) -> PhaseChange:
    routed_since = rollout.phase.routed_since if isinstance(rollout.phase, Stepping) else None
    phase = Baking(now, routed_since)
    baking = replace(rollout, phase=phase, progress=_go_on(rollout, health, now))
    bake_seconds = health.release.spec.rollout.bake_seconds
    why = f"{why}; bakes for {bake_seconds} s"
    return _change(rollout, baking, desired, "baking", why, health)


def timed(rollout: Rollout, now: datetime) -> Rollout:
    """The rollout with how long the instances of its present step took to be healthy. Until now,
    unless something else kept the step since the last of them was.
    """
    phase, progress = rollout.phase, rollout.progress
    if not isinstance(phase, Stepping) or progress is None or phase.is_granted:
        return rollout
    is_kept = now - progress.improved_at > SETTLES_WITHIN
    until = progress.improved_at if is_kept else now
    seconds = round((until - phase.since).total_seconds())
    return replace(rollout, step_seconds=seconds) if seconds > 0 else rollout


def _go_on(rollout: Rollout, health: ReleaseHealth, now: datetime) -> Progress:
    """The progress in the next phase: its deadline is new, what the instances have shown is not."""
    progress = rollout.progress or Progress(0, now)
    halted_since = now if progress.halted_since else None
    return replace(progress, healthy=health.healthy, improved_at=now, halted_since=halted_since)


def succeed(
    rollout: Rollout, desired: Desired, health: ReleaseHealth | None, why: str, now: datetime
) -> PhaseChange:
    """The candidate has baked: it is the stable release now, and its group serves. It is watched
    while there is a release to return to; what a rollback restored is not. `health`: None if it has
    served since before, unobserved. One with gates of its own is watched as long as the group of
    the release before is kept.
    """
    candidate = candidate_of(rollout)
    group = strategy_of(candidate).candidate_group(swap_of(rollout, candidate))
    kept, spec = _kept(rollout, candidate, group, now), candidate.spec.rollout
    is_watched = bool(
        rollout.stable
        and (spec.watch_seconds or (spec.gates and kept))
        and not candidate.is_restored
    )
    done = replace(
        rollout,
        phase=Settled(),
        stable=candidate,
        candidate=None,
        previous=rollout.stable or rollout.previous,
        stable_kept=None,
        capacity=None,
        serving_group=group,
        kept=kept,
        steps_digest="",
        progress=rollout.progress if is_watched else None,
        paused=None,
        promoted=False,
        demand=None,
        watched_since=now if is_watched else None,
        gates=rollout.gates if is_watched else (),
        failure=None,
        failed_digests=tuple(
            digest for digest in rollout.failed_digests if digest != candidate.digest
        ),
        last_failed="" if rollout.last_failed == candidate.version else rollout.last_failed,
    )
    why = f"promoted; {health}" if rollout.promoted and health else why
    evidence = (str(health),) if health else ()
    before = phase_name(rollout.phase)
    transition = Transition(
        candidate.version, before, "succeeded", why, outcome="succeeded", evidence=evidence
    )
    return PhaseChange(done, desired, (transition,))


def _kept(rollout: Rollout, candidate: Release, group: Colour, now: datetime) -> Kept | None:
    """The group that served before, if the candidate has its own."""
    phase, stable, colour = rollout.phase, rollout.stable, rollout.serving_group
    if stable is None or colour is None or colour == group or not isinstance(phase, Baking):
        return None
    keep = timedelta(seconds=candidate.spec.rollout.keep_old_seconds or 0)
    return Kept(stable, colour, phase.routed_since, now + keep)


def end_keep(
    rollout: Rollout, desired: Desired, kept: Kept, why: str, now: datetime
) -> PhaseChange:
    """From now on the kept group goes; with it goes the way back that a watch would take."""
    leaving = replace(
        rollout,
        kept=replace(kept, is_leaving=True, until=now),
        watched_since=None,
        progress=None,
        gates=(),
        failure=None,
    )
    why = f"the {kept.colour} group of release {kept.release.version} goes: {why}"
    return _change(rollout, leaving, desired, "settled", why)


def replace_candidate(rollout: Rollout, desired: Desired, why: str, now: datetime) -> PhaseChange:
    """A newer release takes over from a first release that never became stable."""
    candidate, failure = candidate_of(rollout), rollout.failure
    phase = phase_name(rollout.phase)
    ended = Transition(candidate.version, phase, "superseded", why, "superseded", "superseded")
    if failure:
        rollout = remember_failed(rollout, candidate, "rolled_back")
        why = f"{failure.why}; {why}"
        ended = Transition(
            candidate.version, phase, "rolled_back", why, failure.reason, "rolled_back"
        )
    settled = replace(rollout, phase=Settled(), candidate=None, promoted=False)
    begun = begin(settled, desired, now)
    return replace(begun, transitions=(ended, *begun.transitions))


def take_over(
    rollout: Rollout,
    desired: Desired,
    phase: RollingBack,
    stalled: str,
    stable_kept: int | None,
    now: datetime,
) -> PhaseChange:
    """A newer release begins though the rollback is not over, since the rollback cannot end by
    itself. It replaces what is left of the failed candidate, then the stable release step by step.
    """
    failed, newer = candidate_of(rollout), desired.release
    if newer and _is_refused(rollout, newer):
        return _refuse(rollout, desired, newer)
    version = newer.version if newer else ""
    why = f"{phase.why}; release {version} takes over the rollback: {stalled}"
    ended = Transition(
        failed.version, "rolling_back", phase.outcome, why, phase.reason, phase.outcome
    )
    settled = replace(rollout, phase=Settled(), candidate=None, stable_kept=stable_kept)
    begun = begin(settled, desired, now)
    return replace(begun, transitions=(ended, *begun.transitions))


# ---- Gates


def record_verdicts(rollout: Rollout, desired: Desired, now: datetime) -> PhaseChange:
    """One entry for all gates whose verdict has changed. A gate whose source fails and answers by
    turns makes no entry for each of its windows.
    """
    changed = [each for each in rollout.gates if _is_to_be_logged(each, now)]
    if not changed:
        return PhaseChange(rollout, desired)
    logged = tuple(
        replace(each, logged=each.verdict, logged_at=now) if each in changed else each
        for each in rollout.gates
    )
    why = "; ".join(each.why for each in changed)
    change = _change(rollout, replace(rollout, gates=logged), desired, "verdict", why)
    transitions = tuple(replace(each, gates=tuple(changed)) for each in change.transitions)
    return replace(change, transitions=transitions)


def _is_to_be_logged(record: GateRecord, now: datetime) -> bool:
    """A step that asks anew is no verdict. A fail is logged at once."""
    is_verdict = record.verdict != "inconclusive" or record.lacking_since is not None
    if not record.why or record.verdict == record.logged or not is_verdict:
        return False
    last = record.logged_at
    return record.verdict == "fail" or last is None or now - last >= VERDICTS_EVERY


def refuse_without_baseline(rollout: Rollout, desired: Desired, lack: str) -> PhaseChange:
    """A gate of the desired release could not compare it with anything."""
    release = desired.release
    if release is None:
        return PhaseChange(rollout, desired)
    refused = Transition(release.version, "settled", "refused", lack, "gate", "refused")
    return PhaseChange(rollout, desired_without(rollout, desired, release), (refused,))


def refuse_changed_plan(rollout: Rollout, desired: Desired, why: str) -> PhaseChange:
    """What the desired release was planned to do is not what it would do now."""
    release = desired.release
    if release is None:
        return PhaseChange(rollout, desired)
    refused = Transition(release.version, "settled", "refused", f"plan: {why}", None, "refused")
    return PhaseChange(rollout, desired_without(rollout, desired, release), (refused,))


def fail_rollback(
    rollout: Rollout, desired: Desired, phase: RollingBack, failure: LatchedFailure
) -> PhaseChange:
    """A gate failed the candidate that is being rolled back for another reason, by requests that it
    had before: its content is remembered as failed.
    """
    why = f"{phase.why}; {failure.why}"
    failed = replace(phase, outcome="rolled_back", reason=failure.reason, why=why)
    remembered = remember_failed(rollout, candidate_of(rollout), "rolled_back")
    after = replace(remembered, phase=failed)
    return _change(rollout, after, desired, "rolling_back", why, reason=failure.reason)


# ---- Pauses


def restore_route(rollout: Rollout, desired: Desired, edited_by: str, now: datetime) -> PhaseChange:
    """Somebody changed the route. It is restored each time, but the second time in one rollout
    pauses it, unless it is on its way back: whoever made both changes will make another one.
    """
    edits = rollout.route_edits + 1
    by = f" by {edited_by}" if edited_by else " outside of Slipway"
    edited = replace(rollout, route_edits=edits)
    why = f"the route in the URL map was changed{by}; it is restored"
    change = _change(rollout, edited, desired, "repaired", why)
    is_progressing = isinstance(rollout.phase, Stepping | Baking) and rollout.paused is None
    if edits < MOST_EDITS or not is_progressing:
        return change
    why = f"the route was changed {edits} times, last{by}; find out why, then resume"
    stopped = pause(edited, desired, why, now)
    return replace(stopped, transitions=(*change.transitions, *stopped.transitions))


def pause(
    rollout: Rollout, desired: Desired, why: str, now: datetime, *, after_failure: bool = False
) -> PhaseChange:
    paused = replace(rollout, paused=Pause(why, now, after_failure))
    return replace(_change(rollout, paused, desired, "paused", why), waiting_for=why)


def without_pause(rollout: Rollout, now: datetime, *, awaits_anew: bool = False) -> Rollout:
    """The time of the pause counts neither as bake time nor toward a deadline, and only once: the
    next pass is not late. `awaits_anew`: the rollout was paused since nobody approved it; that time
    begins again.
    """
    if rollout.paused is None:
        return rollout
    shifted = shift(rollout, now - rollout.paused.since, now)
    if awaits_anew and isinstance(shifted.phase, Stepping):
        shifted = replace(shifted, phase=replace(shifted.phase, since=now))
    return replace(shifted, paused=None, last_observed_at=now, route_edits=0)


def resume(
    rollout: Rollout, desired: Desired, why: str, now: datetime, *, awaits_anew: bool = False
) -> PhaseChange:
    """`awaits_anew`: see `without_pause`."""
    resumed = without_pause(rollout, now, awaits_anew=awaits_anew)
    return _change(rollout, resumed, desired, phase_name(rollout.phase), why)


def promote(rollout: Rollout, desired: Desired, why: str) -> PhaseChange:
    """Skip the remaining steps and bake time. The health gates still hold."""
    return _change(rollout, replace(rollout, promoted=True), desired, "promoted", why)


def promote_step(rollout: Rollout, desired: Desired, why: str) -> PhaseChange:
    """End the hold of the present step, or the bake time. The health gates still hold."""
    phase = rollout.phase
    if not isinstance(phase, Stepping | Baking):
        raise ValueError(f"phase {phase_name(phase)} has no hold")
    promoted = replace(rollout, phase=replace(phase, is_promoted=True))
    ended = "the bake time" if isinstance(phase, Baking) else f"the hold of {phase_name(phase)}"
    return _change(rollout, promoted, desired, "promoted", f"{why}; ends {ended}")


def judge_anew(rollout: Rollout, desired: Desired, why: str, now: datetime) -> PhaseChange:
    """The present step, or the bake, begins again, and what was observed before counts no more.
    Nor does a promotion in full that the failure stopped: it would end the step unjudged.
    """
    phase = rollout.phase
    if not isinstance(phase, Stepping | Baking):
        raise ValueError(f"phase {phase_name(phase)} has nothing to judge")
    initial_size = rollout.progress.initial_size if rollout.progress else 0
    anew = replace(
        rollout,
        phase=_begun_again(phase, now),
        paused=None,
        promoted=False,
        progress=Progress(0, now, initial_size=initial_size),
        begun_at=now,
        last_observed_at=now,
        route_edits=0,
        gates=analysis.begun_again(rollout, now),
        failure=None,
    )
    return _change(rollout, anew, desired, phase_name(phase), why)


def _begun_again(phase: Stepping | Baking, now: datetime) -> Stepping | Baking:
    """With nothing of what people said about it."""
    phase = replace(phase, since=now, is_promoted=False)
    return replace(phase, approved_by="") if isinstance(phase, Stepping) else phase


def approve(rollout: Rollout, desired: Desired, intent: Intent, why: str) -> PhaseChange:
    """The step has its approval. It ends when its other gates have passed, too."""
    phase = rollout.phase
    if not isinstance(phase, Stepping):
        raise ValueError(f"phase {phase_name(phase)} asks for no approval")
    by = intent.requested_by
    given_by = f"{by} ({intent.approver})" if by else intent.approver
    approved = replace(rollout, phase=replace(phase, approved_by=given_by))
    return _change(rollout, approved, desired, "approved", why)


def shift(rollout: Rollout, span: timedelta, now: datetime) -> Rollout:
    """The rollout as if its present phase had begun, and progressed, that much later. What happened
    within that time, such as a repair of the route, counts from now.
    """
    phase, progress = rollout.phase, rollout.progress
    if isinstance(phase, Stepping | Baking):
        phase = replace(phase, since=min(phase.since + span, now))
    if isinstance(phase, Stepping | Baking | RollingBack | Retiring) and phase.routed_since:
        phase = replace(phase, routed_since=min(phase.routed_since + span, now))
    if isinstance(phase, Stepping):
        phase = replace(phase, unmeasured_since=None)  # nobody asked in that time
    if isinstance(phase, RollingBack) and phase.improved_at:
        phase = replace(phase, improved_at=min(phase.improved_at + span, now))
    if progress:
        progress = replace(progress, improved_at=min(progress.improved_at + span, now))
    gates = tuple(replace(each, lacking_since=None) for each in rollout.gates)
    return replace(rollout, phase=phase, progress=progress, gates=gates)


def shift_clocks(rollout: Rollout, span: timedelta) -> Rollout:
    """The same for what each instance has shown: nobody observed it in that time."""
    progress = rollout.progress
    if progress is None:
        return rollout
    clocks = {
        key: replace(clock, since=clock.since + span)
        for key, clock in decode(progress.clocks).items()
    }
    return replace(rollout, progress=replace(progress, clocks=encode(clocks)))


# ---- Back and out


def roll_back(
    rollout: Rollout, desired: Desired, outcome: Outcome, reason: Reason, why: str, now: datetime
) -> PhaseChange:
    """From now on the target is the stable release alone. The candidate's digest is remembered if
    it failed. A release newer than the candidate stays desired.
    """
    candidate = candidate_of(rollout)
    newer = desired.release
    if newer is None or newer.generation == candidate.generation:
        desired = desired_without(rollout, desired, candidate)
    back = replace(
        remember_failed(rollout, candidate, outcome),
        phase=RollingBack(
            outcome,
            reason,
            why,
            now,
            is_drained=not _has_requests(rollout),
            weight=_weight(rollout) if reason != "unhealthy" else 0,
        ),
        stable_kept=None,
        progress=None,
        paused=None,
        promoted=False,
        demand=None,
    )
    goal = (
        f"rolls back to release {rollout.stable.version}"
        if rollout.stable
        else "removes it, since no release served before it"
    )
    return _change(rollout, back, desired, "rolling_back", f"{why}; {goal}", reason=reason)


def remember_failed(rollout: Rollout, release: Release, outcome: Outcome) -> Rollout:
    """Content that failed is refused until somebody tries it again; `retry` also tries what was
    aborted.
    """
    if outcome == "aborted":
        return replace(rollout, last_failed=release.version)
    if outcome != "rolled_back":
        return rollout
    others = (digest for digest in rollout.failed_digests if digest != release.digest)
    digests = (*others, release.digest)[-MAX_FAILED_DIGESTS:]
    return replace(rollout, failed_digests=digests, last_failed=release.version)


def _weight(rollout: Rollout) -> int:
    """The candidate's part of the requests."""
    if not has_own_group(rollout):
        return 0
    return rollout.phase.weight if isinstance(rollout.phase, Stepping) else FULL_WEIGHT


def _has_requests(rollout: Rollout) -> bool:
    """Whether a group may have got requests that goes when the candidate does."""
    phase = rollout.phase
    if rollout.stable is None:
        return candidate_of(rollout).spec.traffic.is_exposed
    if not has_own_group(rollout):
        return False
    return not isinstance(phase, Stepping) or phase.weight > 0 or phase.granted > 0


def roll_back_in_place(
    rollout: Rollout, desired: Desired, phase: RollingBack, problem: Problem, now: datetime
) -> PhaseChange:
    """There is no room for another instance: from now on the candidate's make room themselves."""
    in_place = replace(phase, in_place=True, improved_at=now)
    why = f"replaces the instances in place, since there is no room for more: {problem.message}"
    return _change(
        rollout,
        replace(rollout, phase=in_place),
        desired,
        "rolling_back",
        why,
        reason=problem.reason,
    )


def stall(
    rollout: Rollout, desired: Desired, phase: RollingBack, stalled: Problem, *, needs_place: bool
) -> PhaseChange:
    """Say once that the rollback does not get on. It goes on trying. `needs_place`: the candidate's
    own group exists, so only a release that shares the stable one's group can take over.
    """
    which = "a newer release with strategy rolling" if needs_place else "a newer release"
    why = f"{stalled.message}; {which}, or a rollback to another one, takes over"
    waiting = replace(rollout, phase=replace(phase, stalled=stalled.message))
    return _change(rollout, waiting, desired, "stalled", why, reason=stalled.reason)


def finish_rollback(
    rollout: Rollout, desired: Desired, phase: RollingBack, short: str = ""
) -> PhaseChange:
    """None of the candidate is left: record the outcome. `short`: what the stable release lacks."""
    candidate = candidate_of(rollout)
    settled = replace(
        rollout, phase=Settled(), candidate=None, steps_digest="", gates=(), failure=None
    )
    why = f"{phase.why}; {short}" if short else phase.why
    ended = Transition(
        candidate.version, "rolling_back", phase.outcome, why, phase.reason, phase.outcome
    )
    return PhaseChange(settled, desired, (ended,))


def take_back(
    rollout: Rollout, desired: Desired, outcome: Outcome, reason: Reason, why: str, now: datetime
) -> PhaseChange:
    """The stable release fell sick while it was watched, or a person takes it back while the group
    of the one before it is kept: that one comes back, once.
    """
    bad, before, kept = rollout.stable, rollout.previous, rollout.kept
    reopened = replace(
        rollout,
        stable=before,
        candidate=bad,
        previous=None,
        watched_since=None,
        serving_group=kept.colour if kept else rollout.serving_group,
        kept=None,
    )
    back = roll_back(reopened, desired, outcome, reason, why, now)
    return replace(
        back, transitions=tuple(replace(each, from_="settled") for each in back.transitions)
    )


def end_watch(rollout: Rollout) -> Rollout:
    return replace(rollout, watched_since=None, progress=None, gates=(), failure=None)


def retire(rollout: Rollout, desired: Desired, why: str, now: datetime) -> PhaseChange:
    releases = (rollout.stable, rollout.candidate)
    is_exposed = any(release.spec.traffic.is_exposed for release in releases if release)
    retiring = replace(
        rollout,
        phase=Retiring(now, why, is_drained=not is_exposed),
        paused=None,
        progress=None,
        promoted=False,
        demand=None,
        watched_since=None,
        gates=(),
        failure=None,
    )
    undesired = replace(desired, release=None, paused="", promoted=False)
    return _change(rollout, retiring, undesired, "retiring", why)


def finish_retirement(rollout: Rollout, desired: Desired) -> PhaseChange:
    """Nothing of the model is left: its releases end here."""
    why = rollout.phase.why if isinstance(rollout.phase, Retiring) else ""
    ended = tuple(
        Transition(release.version, "retiring", "retired", why, outcome="retired")
        for release in (rollout.candidate, rollout.stable)
        if release
    )
    left = Rollout(failed_digests=rollout.failed_digests, last_failed=rollout.last_failed)
    return PhaseChange(left, desired, ended)


def candidate_of(rollout: Rollout) -> Release:
    if rollout.candidate is None:
        raise ValueError(f"a rollout in phase {phase_name(rollout.phase)} has no candidate")
    return rollout.candidate


def _change(
    before: Rollout,
    after: Rollout,
    desired: Desired,
    to: str,
    why: str,
    health: ReleaseHealth | None = None,
    *,
    reason: Reason | None = None,
) -> PhaseChange:
    release = release_in_focus(before)
    transition = Transition(
        release.version if release else "",
        phase_name(before.phase),
        to,
        why,
        reason,
        evidence=(str(health),) if health else (),
    )
    return PhaseChange(after, desired, (transition,))
