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

from rollout.commands import later, obey
from rollout.gates import health
from rollout.model import (
    Baking,
    Condition,
    Desired,
    Evidence,
    GoingBack,
    GroupTarget,
    Observed,
    Outcome,
    Pause,
    Progress,
    Reason,
    Release,
    Retiring,
    Rollout,
    Settled,
    Stepping,
    Target,
    Transition,
    Turn,
    name_of,
    step_name,
)
from rollout.spec.model import incompatible
from rollout.strategies import rolling

LOOK_AGAIN = timedelta(seconds=5)
LOOK_AGAIN_LATER = timedelta(
    seconds=15
)  # where a step has taken two minutes, and while a release bakes
LOOK_AGAIN_PAUSED = timedelta(seconds=60)
WATCHED_EVERY = timedelta(seconds=60)
UNWATCHED = timedelta(seconds=180)
REMEMBERED_FAILURES = 20


@dataclass(frozen=True)
class Next:
    """One decision before its target is drawn up."""

    rollout: Rollout
    desired: Desired
    transitions: tuple[Transition, ...] = ()
    waits: str = ""
    troubles: tuple[str, ...] = ()


def advance(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> Turn:
    obeyed = obey(watched(rollout, now), desired, now)
    if obeyed.transitions:
        decided = Next(obeyed.rollout, obeyed.desired, obeyed.transitions)
    else:
        decided = decide(obeyed.rollout, obeyed.desired, observed, evidence, now)
    return Turn(
        rollout=decided.rollout,
        desired=decided.desired,
        target=asked(decided.rollout, decided.desired, observed),
        wake_at=_wake_at(decided, now),
        waits=decided.waits,
        transitions=decided.transitions,
        conditions=_conditions(decided, now),
    )


def watched(rollout: Rollout, now: datetime) -> Rollout:
    """The rollout as of this look. Time in which nobody looked counts for nothing, neither for the
    bake nor for a deadline:

    bake        |#######|  nobody looked  |######|    the bake begins that much later than it did
    """
    if isinstance(rollout.phase, Settled):
        return replace(rollout, watched_at=None)
    if rollout.watched_at is None:
        return replace(rollout, watched_at=now)
    gap = now - rollout.watched_at
    if gap < WATCHED_EVERY:
        return rollout
    return replace(later(rollout, gap) if gap > UNWATCHED else rollout, watched_at=now)


def asked(rollout: Rollout, desired: Desired, observed: Observed) -> Target:
    """The target of the phase the rollout is in. Unlike `advance` it decides nothing; the turn
    calls it to see what is unmet."""
    groups = _groups(rollout, observed)
    kept = (rollout.stable, rollout.candidate, rollout.previous, desired.release) if groups else ()
    return Target(desired.model, groups, frozenset(release.template for release in kept if release))


def _groups(rollout: Rollout, observed: Observed) -> tuple[GroupTarget, ...]:
    match rollout.phase:
        case Settled():
            return (rolling.standing(rollout.stable),) if rollout.stable else ()
        case Stepping(step):
            swap, strategy = _swap(rollout)
            return strategy.groups(swap, _step(strategy.ladder(swap), step), observed)
        case Baking():
            swap, strategy = _swap(rollout)
            return strategy.groups(swap, strategy.ladder(swap)[-1], observed)
        case GoingBack():
            if rollout.stable is None:
                return ()
            back = rolling.Swap(None, rollout.stable)
            return (rolling.swapping(back, rolling.Step(100), observed.group("blue")),)
        case Retiring():
            return ()
        case _:
            assert_never(rollout.phase)


def _step(ladder: tuple[rolling.Step, ...], index: int) -> rolling.Step:
    return ladder[min(index, len(ladder) - 1)]


def decide(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> Next:
    match rollout.phase:
        case Settled():
            begun = _begin(rollout, desired, now)
            return replace(begun, troubles=tuple(problem.message for problem in evidence.refusals))
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
        case GoingBack():
            return _arrive_back(rollout, desired, rollout.phase, observed, evidence)
        case Retiring():
            return _finish_retiring(rollout, desired, rollout.phase, observed, evidence)
        case _:
            assert_never(rollout.phase)


def _begin(rollout: Rollout, desired: Desired, now: datetime) -> Next:
    """Start towards the desired release, unless it is the stable one, or one that failed and was
    not forced."""
    release = desired.release
    if release is None or (rollout.stable and release.version == rollout.stable.version):
        return Next(rollout, desired)
    if release.digest in rollout.failed and not release.force:
        why = (
            f'release {release.version} went back before; publish it with "force": true to try it'
            " again"
        )
        back = replace(desired, release=rollout.stable)
        return Next(
            rollout,
            back,
            (Transition(release.version, "settled", "refused", why, outcome="refused"),),
        )
    swap = rolling.Swap(rollout.stable, release)
    ladder = rolling.STRATEGIES[release.spec.rollout.strategy].ladder(swap)
    first = len(ladder) - 1 if rollout.promoted else 0
    begun = replace(
        rollout,
        phase=Stepping(first, now),
        candidate=release,
        ladder=rolling.fingerprint(ladder),
        progress=Progress(0, now),
        paused=None,
        watched_at=now,
    )
    origin = f"release {rollout.stable.version} serves" if rollout.stable else "nothing serves yet"
    why = (
        f"{origin}; step 1 of {len(ladder)} asks for {ladder[first].percent} % on release"
        f" {release.version}"
    )
    return Next(begun, desired, (Transition(release.version, "settled", step_name(first), why),))


def _give_way(rollout: Rollout, desired: Desired, observed: Observed, now: datetime) -> Next | None:
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
        candidate.version, name_of(rollout.phase), "superseded", why, "superseded", "superseded"
    )
    begun = _begin(replace(rollout, phase=Settled(), candidate=None, promoted=False), desired, now)
    return replace(begun, transitions=(ended, *begun.transitions))


def _leave_step(
    rollout: Rollout,
    desired: Desired,
    step: int,
    seen: health.Look,
    evidence: Evidence,
    now: datetime,
) -> Next:
    swap, strategy = _swap(rollout)
    ladder = strategy.ladder(swap)
    if rolling.fingerprint(ladder) != rollout.ladder:
        why = "the steps of its strategy have changed"
        return _enter_step(
            replace(rollout, ladder=rolling.fingerprint(ladder)), desired, 0, seen, why, now
        )
    rollout = replace(
        rollout, progress=health.noted(rollout.progress or Progress(0, now), seen, now)
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
    return Next(baking, desired, (told,))


def _enter_step(
    rollout: Rollout, desired: Desired, step: int, seen: health.Look, why: str, now: datetime
) -> Next:
    entered = replace(rollout, phase=Stepping(step, now), progress=Progress(seen.healthy, now))
    told = Transition(
        seen.release.version, name_of(rollout.phase), step_name(step), why, evidence=(str(seen),)
    )
    return Next(entered, desired, (told,))


def _leave_bake(
    rollout: Rollout,
    desired: Desired,
    since: datetime,
    seen: health.Look,
    evidence: Evidence,
    now: datetime,
) -> Next:
    rollout = replace(
        rollout, progress=health.noted(rollout.progress or Progress(0, now), seen, now)
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
        ladder="",
        progress=None,
        paused=None,
        promoted=False,
        failed=tuple(digest for digest in rollout.failed if digest != candidate.digest),
    )
    why = f"promoted; {seen}" if rollout.promoted else verdict.why
    told = Transition(
        candidate.version, "baking", "succeeded", why, outcome="succeeded", evidence=(str(seen),)
    )
    return Next(done, desired, (told,))


def _judged(rollout: Rollout, now: datetime) -> Progress:
    """The progress the gates judge by: no deadline runs while the rollout is paused."""
    progress = rollout.progress or Progress(0, now)
    return replace(progress, at=now) if rollout.paused else progress


def _hold(
    rollout: Rollout, desired: Desired, verdict: health.Verdict, seen: health.Look, now: datetime
) -> Next:
    """Stay, go back, or wait for a person, as the verdict says. A pause holds the way forward only:
    a sick candidate goes back all the same, except where Slipway paused because
    `rollout.on_failure` asked for that."""
    candidate = _candidate(rollout)
    match verdict:
        case health.Failed(reason, why):
            if rollout.paused and rollout.paused.after_failure:
                return Next(rollout, desired, waits=rollout.paused.why)
            if candidate.spec.rollout.on_failure == "pause":
                return _pause(rollout, desired, why, True, now)
            return _go_back(rollout, desired, "rolled_back", reason, why, now)
        case health.Inconclusive(why):
            if rollout.paused:
                return Next(rollout, desired, waits=why, troubles=(why,))
            return _pause(rollout, desired, why, False, now)
        case health.Waiting(why) | health.Passed(why):
            troubles = tuple(dict.fromkeys(problem.message for problem in seen.problems))[:1]
            return Next(
                rollout,
                desired,
                waits=rollout.paused.why if rollout.paused else why,
                troubles=troubles,
            )
        case _:
            assert_never(verdict)


def _pause(
    rollout: Rollout, desired: Desired, why: str, after_failure: bool, now: datetime
) -> Next:
    version = _candidate(rollout).version
    told = Transition(version, name_of(rollout.phase), "paused", why)
    return Next(
        replace(rollout, paused=Pause(why, now, after_failure)), desired, (told,), waits=why
    )


def _go_back(
    rollout: Rollout, desired: Desired, outcome: Outcome, reason: Reason, why: str, now: datetime
) -> Next:
    """Turn round: from now on the target is the stable release alone, and the candidate's digest is
    remembered if it failed."""
    candidate = _candidate(rollout)
    failed = rollout.failed
    if outcome == "rolled_back":
        failed = (*(digest for digest in failed if digest != candidate.digest), candidate.digest)[
            -REMEMBERED_FAILURES:
        ]
    keeps = (
        desired.release
        if desired.release and desired.release.generation != candidate.generation
        else rollout.stable
    )
    turned = replace(
        rollout,
        phase=GoingBack(outcome, reason, why, now),
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
        candidate.version, name_of(rollout.phase), "going_back", f"{why}; {goal}", reason
    )
    return Next(turned, replace(desired, release=keeps), (told,))


def _arrive_back(
    rollout: Rollout, desired: Desired, phase: GoingBack, observed: Observed, evidence: Evidence
) -> Next:
    candidate, group = _candidate(rollout), observed.group("blue")
    if rollout.stable is None:
        waits = _still_there(observed)
    else:
        seen = health.look(rolling.standing(rollout.stable), rollout.stable, group)
        strangers = (
            [i for i in group.instances if i.template != rollout.stable.template] if group else []
        )
        waits = (
            f"{len(strangers)} instances are not on release {rollout.stable.version} yet"
            if strangers
            else ""
        )
        waits = waits or ("" if seen.is_reached else f"{seen}; the group gets stable again")
    waits = waits or (evidence.unmet[0] if evidence.unmet else "")
    if waits:
        return Next(
            rollout,
            desired,
            waits=waits,
            troubles=tuple(problem.message for problem in evidence.refusals),
        )
    settled = replace(rollout, phase=Settled(), candidate=None, ladder="")
    told = Transition(
        candidate.version, "going_back", phase.outcome, phase.why, phase.reason, phase.outcome
    )
    return Next(settled, desired, (told,))


def _finish_retiring(
    rollout: Rollout, desired: Desired, phase: Retiring, observed: Observed, evidence: Evidence
) -> Next:
    waits = _still_there(observed) or (evidence.unmet[0] if evidence.unmet else "")
    if waits:
        return Next(
            rollout,
            desired,
            waits=waits,
            troubles=tuple(problem.message for problem in evidence.refusals),
        )
    ended = [release for release in (rollout.candidate, rollout.stable) if release]
    told = tuple(
        Transition(release.version, "retiring", "retired", phase.why, outcome="retired")
        for release in ended
    )
    return Next(Rollout(failed=rollout.failed), desired, told)


def _still_there(observed: Observed) -> str:
    names = [f"the {group.colour} group" for group in observed.groups] + list(observed.leftovers)
    return f"{', '.join(names[:3])} still there" if names else ""


def _seen(rollout: Rollout, observed: Observed) -> health.Look:
    group = _groups(rollout, observed)[0]
    return health.look(group, _candidate(rollout), observed.group(group.colour))


def _swap(rollout: Rollout) -> tuple[rolling.Swap, rolling.Strategy]:
    candidate = _candidate(rollout)
    return (
        rolling.Swap(rollout.stable, candidate),
        rolling.STRATEGIES[candidate.spec.rollout.strategy],
    )


def _candidate(rollout: Rollout) -> Release:
    if rollout.candidate is None:
        raise ValueError(f"a rollout in phase {name_of(rollout.phase)} has no candidate")
    return rollout.candidate


def _wake_at(decided: Next, now: datetime) -> datetime | None:
    rollout = decided.rollout
    if decided.transitions:
        return now
    match rollout.phase:
        case Settled():
            return None
        case _ if rollout.paused:
            return now + LOOK_AGAIN_PAUSED
        case Baking():
            return now + LOOK_AGAIN_LATER
        case Stepping() | GoingBack() | Retiring():
            return now + _pause_after(now - rollout.phase.since)
        case _:
            assert_never(rollout.phase)


def _pause_after(taken: timedelta) -> timedelta:
    """Until the next look at what has taken so long: an eighth of that. Every look costs some of
    the project's quota, and what has taken long may take a little longer."""
    return min(LOOK_AGAIN_LATER, max(LOOK_AGAIN, taken / 8))


def _conditions(decided: Next, now: datetime) -> tuple[Condition, ...]:
    paused = decided.rollout.paused
    held = (Condition("Paused", paused.why, paused.since),) if paused else ()
    return held + tuple(Condition("Troubled", why, now) for why in decided.troubles)
