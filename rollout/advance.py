"""Decides where a rollout goes next: `advance(rollout, desired, observed, evidence, now) -> Turn`.

Called by `handlers/reconcile/loop.py` once per look at the world. Pure and total: it obeys pending
commands, then asks the present phase.

    Settled ──newer release──> Stepping ──last step passed──> Baking ──baked──> Settled (the candidate is the stable release)
                                  └──failed, aborted, superseded──> GoingBack <──┘
                                                                       └──nothing of the candidate left──> Settled (as before)
    any ──retire──> Retiring ──nothing left──> Settled (nothing serves)

Invariant: a phase is left only because the observed world shows that it may be; nothing here knows
whether a call returned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from rollout.commands import apply_commands, shift
from rollout.gates import health
from rollout.model import (
    Baking,
    Condition,
    Decision,
    Desired,
    Evidence,
    GroupTarget,
    Observed,
    Outcome,
    Pause,
    Progress,
    Reason,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
    Transition,
    phase_name,
    step_name,
)
from rollout.spec.compatibility import incompatible
from rollout.spec.model import PercentStep
from rollout.strategies import rolling

REQUEUE_AFTER = timedelta(seconds=5)
REQUEUE_AFTER_LONG = timedelta(
    seconds=15
)  # where a step has taken two minutes, and while a release bakes
REQUEUE_AFTER_PAUSED = timedelta(seconds=60)
OBSERVED_EVERY = timedelta(seconds=60)
OBSERVATION_GAP = timedelta(seconds=180)
MAX_FAILED_DIGESTS = 20


@dataclass(frozen=True)
class PhaseChange:
    """One decision before its target is drawn up."""

    rollout: Rollout
    desired: Desired
    transitions: tuple[Transition, ...] = ()
    waiting_for: str = ""
    warnings: tuple[str, ...] = ()


def advance(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> Decision:
    obeyed = apply_commands(mark_observed(rollout, now), desired, now)
    if obeyed.transitions:
        decided = PhaseChange(obeyed.rollout, obeyed.desired, obeyed.transitions)
    else:
        decided = decide(obeyed.rollout, obeyed.desired, observed, evidence, now)
    return Decision(
        rollout=decided.rollout,
        desired=decided.desired,
        target=target_of(decided.rollout, decided.desired, observed),
        requeue_at=_wake_at(decided, now),
        waiting_for=decided.waiting_for,
        transitions=decided.transitions,
        conditions=_conditions(decided, now),
    )


def mark_observed(rollout: Rollout, now: datetime) -> Rollout:
    """The rollout as of this look. Time in which nobody looked counts for nothing, neither for the
    bake nor for a deadline:

    bake        |#######|  nobody looked  |######|    the bake begins that much later than it did
    """
    if isinstance(rollout.phase, Settled):
        return replace(rollout, last_observed_at=None)
    if rollout.last_observed_at is None:
        return replace(rollout, last_observed_at=now)
    gap = now - rollout.last_observed_at
    if gap < OBSERVED_EVERY:
        return rollout
    return replace(shift(rollout, gap) if gap > OBSERVATION_GAP else rollout, last_observed_at=now)


def target_of(rollout: Rollout, desired: Desired, observed: Observed) -> Target:
    """The target of the phase the rollout is in. Unlike `advance` it decides nothing; the turn
    calls it to see what is unmet."""
    groups = _groups(rollout, observed)
    kept = (rollout.stable, rollout.candidate, rollout.previous, desired.release) if groups else ()
    return Target(desired.model, groups, frozenset(release.template for release in kept if release))


def _groups(rollout: Rollout, observed: Observed) -> tuple[GroupTarget, ...]:
    match rollout.phase:
        case Settled():
            return (rolling.steady_group(rollout.stable),) if rollout.stable else ()
        case Stepping(step):
            swap, strategy = _swap(rollout)
            return strategy.groups(swap, _step(strategy.steps(swap), step), observed)
        case Baking():
            swap, strategy = _swap(rollout)
            return strategy.groups(swap, strategy.steps(swap)[-1], observed)
        case RollingBack():
            if rollout.stable is None:
                return ()
            back = rolling.Swap(None, rollout.stable)
            return (rolling.swap_group(back, PercentStep(percent=100), observed.group("blue")),)
        case Retiring():
            return ()
        case _:
            assert_never(rollout.phase)


def _step(ladder: tuple[PercentStep, ...], index: int) -> PercentStep:
    return ladder[min(index, len(ladder) - 1)]


def decide(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    match rollout.phase:
        case Settled():
            begun = _begin(rollout, desired, now)
            return replace(begun, warnings=tuple(problem.message for problem in evidence.refusals))
        case Stepping(step):
            newer = _give_way(rollout, desired, observed, now)
            return newer or _leave_step(
                rollout, desired, step, _seen(rollout, observed), evidence, now
            )
        case Baking(since):
            newer = _give_way(rollout, desired, observed, now)
            return newer or _leave_bake(
                rollout, desired, since, _seen(rollout, observed), evidence, now
            )
        case RollingBack():
            return _arrive_back(rollout, desired, rollout.phase, observed, evidence)
        case Retiring():
            return _finish_retiring(rollout, desired, rollout.phase, observed, evidence)
        case _:
            assert_never(rollout.phase)


def _begin(rollout: Rollout, desired: Desired, now: datetime) -> PhaseChange:
    """Start towards the desired release, unless it is the stable one, or one that failed and was
    not forced."""
    release = desired.release
    if release is None or (rollout.stable and release.version == rollout.stable.version):
        return PhaseChange(rollout, desired)
    if release.digest in rollout.failed and not release.force:
        why = (
            f'release {release.version} went back before; publish it with "force": true to try it'
            " again"
        )
        back = replace(desired, release=rollout.stable)
        return PhaseChange(
            rollout,
            back,
            (Transition(release.version, "settled", "refused", why, outcome="refused"),),
        )
    swap = rolling.Swap(rollout.stable, release)
    ladder = rolling.STRATEGIES[release.spec.rollout.strategy].steps(swap)
    first = len(ladder) - 1 if rollout.promoted else 0
    begun = replace(
        rollout,
        phase=Stepping(first, now),
        candidate=release,
        steps=rolling.steps_digest(ladder),
        progress=Progress(0, now),
        paused=None,
        last_observed_at=now,
    )
    origin = f"release {rollout.stable.version} serves" if rollout.stable else "nothing serves yet"
    why = (
        f"{origin}; step 1 of {len(ladder)} asks for {ladder[first].percent} % on release"
        f" {release.version}"
    )
    return PhaseChange(
        begun, desired, (Transition(release.version, "settled", step_name(first), why),)
    )


def _give_way(
    rollout: Rollout, desired: Desired, observed: Observed, now: datetime
) -> PhaseChange | None:
    """A newer desired release ends the present rollout, unless the candidate asked to be finished
    first."""
    candidate, newer = _candidate(rollout), desired.release
    if (
        newer is None
        or newer.generation == candidate.generation
        or candidate.spec.rollout.on_newer == "wait"
    ):
        return None
    why = f"release {newer.version} is newer"
    if rollout.stable:
        return _go_back(rollout, desired, "superseded", "superseded", why, now)
    # With nothing to go back to, the newer release takes over at once, unless it cannot live in the
    # same group, or a release before the candidate has instances yet: a third version has to wait
    # until those have gone.
    if incompatible(candidate.spec, newer.spec):
        return _go_back(rollout, desired, "superseded", "superseded", why, now)
    if any(
        instance.template != candidate.template
        for group in observed.groups
        for instance in group.instances
    ):
        return None
    ended = Transition(
        candidate.version, phase_name(rollout.phase), "superseded", why, "superseded", "superseded"
    )
    begun = _begin(replace(rollout, phase=Settled(), candidate=None, promoted=False), desired, now)
    return replace(begun, transitions=(ended, *begun.transitions))


def _leave_step(
    rollout: Rollout,
    desired: Desired,
    step: int,
    seen: health.ReleaseHealth,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    swap, strategy = _swap(rollout)
    ladder = strategy.steps(swap)
    if rolling.steps_digest(ladder) != rollout.steps:
        why = "the steps of its strategy have changed"
        return _enter_step(
            replace(rollout, steps=rolling.steps_digest(ladder)), desired, 0, seen, why, now
        )
    rollout = replace(
        rollout, progress=health.update_progress(rollout.progress or Progress(0, now), seen, now)
    )
    verdict = health.step_gate(seen, _judged(rollout, now), evidence, now)
    if not isinstance(verdict, health.Passed) or rollout.paused:
        return _hold(rollout, desired, verdict, seen, now)
    if step + 1 < len(ladder):
        following = len(ladder) - 1 if rollout.promoted else step + 1
        why = (
            f"{verdict.why}; step {following + 1} of {len(ladder)} asks for"
            f" {ladder[following].percent} %"
        )
        return _enter_step(rollout, desired, following, seen, why, now)
    baking = replace(rollout, phase=Baking(now), progress=Progress(seen.healthy, now))
    bake = seen.release.spec.rollout.bake_seconds
    told = Transition(
        seen.release.version,
        step_name(step),
        "baking",
        f"{verdict.why}; bakes for {bake} s",
        evidence=(verdict.why,),
    )
    return PhaseChange(baking, desired, (told,))


def _enter_step(
    rollout: Rollout,
    desired: Desired,
    step: int,
    seen: health.ReleaseHealth,
    why: str,
    now: datetime,
) -> PhaseChange:
    entered = replace(rollout, phase=Stepping(step, now), progress=Progress(seen.healthy, now))
    told = Transition(
        seen.release.version, phase_name(rollout.phase), step_name(step), why, evidence=(str(seen),)
    )
    return PhaseChange(entered, desired, (told,))


def _leave_bake(
    rollout: Rollout,
    desired: Desired,
    since: datetime,
    seen: health.ReleaseHealth,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    rollout = replace(
        rollout, progress=health.update_progress(rollout.progress or Progress(0, now), seen, now)
    )
    began = datetime.min.replace(tzinfo=now.tzinfo) if rollout.promoted else since
    verdict = health.bake_gate(seen, _judged(rollout, now), evidence, began, now)
    if not isinstance(verdict, health.Passed) or rollout.paused:
        return _hold(rollout, desired, verdict, seen, now)
    candidate = _candidate(rollout)
    done = replace(
        rollout,
        phase=Settled(),
        stable=candidate,
        candidate=None,
        previous=rollout.stable or rollout.previous,
        steps="",
        progress=None,
        paused=None,
        promoted=False,
        failed=tuple(digest for digest in rollout.failed if digest != candidate.digest),
    )
    why = f"promoted; {seen}" if rollout.promoted else verdict.why
    told = Transition(
        candidate.version, "baking", "succeeded", why, outcome="succeeded", evidence=(str(seen),)
    )
    return PhaseChange(done, desired, (told,))


def _judged(rollout: Rollout, now: datetime) -> Progress:
    """The progress the gates judge by: no deadline runs while the rollout is paused."""
    progress = rollout.progress or Progress(0, now)
    return replace(progress, at=now) if rollout.paused else progress


def _hold(
    rollout: Rollout,
    desired: Desired,
    verdict: health.Verdict,
    seen: health.ReleaseHealth,
    now: datetime,
) -> PhaseChange:
    """Stay, go back, or wait for a person, as the verdict says. A pause holds the way forward only:
    a sick candidate goes back all the same, except where Slipway paused because
    `rollout.on_failure` asked for that."""
    candidate = _candidate(rollout)
    match verdict:
        case health.Failed(reason, why):
            if rollout.paused and rollout.paused.after_failure:
                return PhaseChange(rollout, desired, waiting_for=rollout.paused.why)
            if candidate.spec.rollout.on_failure == "pause":
                return _pause(rollout, desired, why, True, now)
            return _go_back(rollout, desired, "rolled_back", reason, why, now)
        case health.Inconclusive(why):
            if rollout.paused:
                return PhaseChange(rollout, desired, waiting_for=why, warnings=(why,))
            return _pause(rollout, desired, why, False, now)
        case health.Waiting(why) | health.Passed(why):
            troubles = tuple(dict.fromkeys(problem.message for problem in seen.problems))[:1]
            return PhaseChange(
                rollout,
                desired,
                waiting_for=rollout.paused.why if rollout.paused else why,
                warnings=troubles,
            )
        case _:
            assert_never(verdict)


def _pause(
    rollout: Rollout, desired: Desired, why: str, after_failure: bool, now: datetime
) -> PhaseChange:
    version = _candidate(rollout).version
    told = Transition(version, phase_name(rollout.phase), "paused", why)
    return PhaseChange(
        replace(rollout, paused=Pause(why, now, after_failure)), desired, (told,), waiting_for=why
    )


def _go_back(
    rollout: Rollout, desired: Desired, outcome: Outcome, reason: Reason, why: str, now: datetime
) -> PhaseChange:
    """Turn round: from now on the target is the stable release alone, and the candidate's digest is
    remembered if it failed."""
    candidate = _candidate(rollout)
    failed = rollout.failed
    if outcome == "rolled_back":
        failed = (*(digest for digest in failed if digest != candidate.digest), candidate.digest)[
            -MAX_FAILED_DIGESTS:
        ]
    keeps = (
        desired.release
        if desired.release and desired.release.generation != candidate.generation
        else rollout.stable
    )
    turned = replace(
        rollout,
        phase=RollingBack(outcome, reason, why, now),
        progress=None,
        paused=None,
        promoted=False,
        failed=failed,
    )
    goal = (
        f"goes back to release {rollout.stable.version}"
        if rollout.stable
        else "removes it, since no release was before it"
    )
    told = Transition(
        candidate.version, phase_name(rollout.phase), "rolling_back", f"{why}; {goal}", reason
    )
    return PhaseChange(turned, replace(desired, release=keeps), (told,))


def _arrive_back(
    rollout: Rollout, desired: Desired, phase: RollingBack, observed: Observed, evidence: Evidence
) -> PhaseChange:
    candidate, group = _candidate(rollout), observed.group("blue")
    if rollout.stable is None:
        waits = _still_there(observed)
    else:
        seen = health.observe_release(rolling.steady_group(rollout.stable), rollout.stable, group)
        strangers = (
            [i for i in group.instances if i.template != rollout.stable.template] if group else []
        )
        waits = (
            f"{len(strangers)} instances are not on release {rollout.stable.version} yet"
            if strangers
            else ""
        )
        waits = waits or ("" if seen.is_reached else f"{seen}; the group gets stable again")
    waits = waits or (evidence.pending_changes[0] if evidence.pending_changes else "")
    if waits:
        return PhaseChange(
            rollout,
            desired,
            waiting_for=waits,
            warnings=tuple(problem.message for problem in evidence.refusals),
        )
    settled = replace(rollout, phase=Settled(), candidate=None, steps="")
    told = Transition(
        candidate.version, "rolling_back", phase.outcome, phase.why, phase.reason, phase.outcome
    )
    return PhaseChange(settled, desired, (told,))


def _finish_retiring(
    rollout: Rollout, desired: Desired, phase: Retiring, observed: Observed, evidence: Evidence
) -> PhaseChange:
    waits = _still_there(observed) or (
        evidence.pending_changes[0] if evidence.pending_changes else ""
    )
    if waits:
        return PhaseChange(
            rollout,
            desired,
            waiting_for=waits,
            warnings=tuple(problem.message for problem in evidence.refusals),
        )
    ended = [release for release in (rollout.candidate, rollout.stable) if release]
    told = tuple(
        Transition(release.version, "retiring", "retired", phase.why, outcome="retired")
        for release in ended
    )
    return PhaseChange(Rollout(failed=rollout.failed), desired, told)


def _still_there(observed: Observed) -> str:
    names = [f"the {group.colour} group" for group in observed.groups] + list(observed.leftovers)
    return f"{', '.join(names[:3])} still there" if names else ""


def _seen(rollout: Rollout, observed: Observed) -> health.ReleaseHealth:
    group = _groups(rollout, observed)[0]
    return health.observe_release(group, _candidate(rollout), observed.group(group.colour))


def _swap(rollout: Rollout) -> tuple[rolling.Swap, rolling.Strategy]:
    candidate = _candidate(rollout)
    return (
        rolling.Swap(rollout.stable, candidate),
        rolling.STRATEGIES[candidate.spec.rollout.strategy],
    )


def _candidate(rollout: Rollout) -> Release:
    if rollout.candidate is None:
        raise ValueError(f"a rollout in phase {phase_name(rollout.phase)} has no candidate")
    return rollout.candidate


def _wake_at(decided: PhaseChange, now: datetime) -> datetime | None:
    rollout = decided.rollout
    if decided.transitions:
        return now
    match rollout.phase:
        case Settled():
            return None
        case _ if rollout.paused:
            return now + REQUEUE_AFTER_PAUSED
        case Baking():
            return now + REQUEUE_AFTER_LONG
        case Stepping() | RollingBack() | Retiring():
            return now + _pause_after(now - rollout.phase.since)
        case _:
            assert_never(rollout.phase)


def _pause_after(taken: timedelta) -> timedelta:
    """Until the next look at what has taken so long: an eighth of that. Every look costs some of
    the project's quota, and what has taken long may take a little longer."""
    return min(REQUEUE_AFTER_LONG, max(REQUEUE_AFTER, taken / 8))


def _conditions(decided: PhaseChange, now: datetime) -> tuple[Condition, ...]:
    paused = decided.rollout.paused
    held = (Condition("Paused", paused.why, paused.since),) if paused else ()
    return held + tuple(Condition("Degraded", why, now) for why in decided.warnings)
