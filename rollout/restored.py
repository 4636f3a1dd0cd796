"""Holds a model still while Compute Engine is newer than its stored state, as after a restored
backup of the store. Pure.

Called by `handlers/reconcile/decide.py` before anything else is decided, and by
`handlers/command.py` for `resume`. What happened since the backup is unknown: a plan made from the
old state would bring yesterday's release back. Only a person's `resume` ends the hold. It goes on
with the release that the fleet runs, in the group that runs it, at its last step and with the
requests that it has, which changes nothing that serves. What has taken over from another group, of
which nothing is left, serves already. A release that was published after the backup is not known
until it is published again; without that, `resume` brings the fleet to the release that the state
desires, also in one step.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import transitions
from rollout.intents import join, restored_release
from rollout.model import (
    FULL_WEIGHT,
    Colour,
    Condition,
    Decision,
    Intent,
    Observed,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
    TrafficWeight,
    Transition,
    phase_name,
)
from rollout.state import Hold, ModelState, Settlement, release_in_focus
from rollout.strategies import strategy_of, swap_of

LOOK_EVERY = timedelta(hours=1)
CONDITION = "Restored"


def is_newer(state: ModelState, newest_revision: int) -> bool:
    """Whether a person must decide: the world is newer, or was and nobody has resumed yet."""
    return state.hold is not None or newest_revision > state.revision


def hold(
    state: ModelState, newest_revision: int, observed: Observed, target: Target, now: datetime
) -> Settlement:
    """The state that changes nothing. `resume` that cannot be followed is answered."""
    before = state.hold
    if before is None or before.is_resumed:
        why = _why(state, newest_revision, observed)
        kept = before.since if before else now
        current = Hold(why, kept, max(newest_revision, before.revision if before else 0))
        recorded: tuple[Transition, ...] = (_transition(state, why),)
    else:
        current, recorded = before, ()
    condition = Condition(CONDITION, current.why, current.since)
    others = tuple(each for each in state.conditions if each.type != CONDITION)
    at = state.requeue_at if state.requeue_at and state.requeue_at > now else now + LOOK_EVERY
    after = replace(
        state,
        hold=current,
        conditions=(*others, condition),
        waiting_for=current.why,
        requeue_at=now + LOOK_EVERY if recorded else at,
    )
    decision = Decision(
        after.rollout,
        after.desired,
        target,
        after.requeue_at,
        current.why,
        recorded,
        after.conditions,
    )
    return Settlement(after, decision)


def resume(state: ModelState, version: str, who: str, now: datetime) -> ModelState:
    """The state of a model on hold once a person has asked to resume it, with the release of that
    version or with the one that runs.
    """
    if state.hold is None:
        return state
    resumed = replace(state.hold, is_resumed=True, version=version, resumed_by=who)
    return replace(state, hold=resumed, requeue_at=now, revision=state.revision + 1)


def adopt(
    state: ModelState,
    newest_revision: int,
    observed: Observed,
    routed: tuple[TrafficWeight, ...],
    now: datetime,
) -> tuple[ModelState, tuple[Transition, ...]]:
    """The state that goes on; still on hold if nobody has resumed it, or with a version that the
    state does not know. `routed` is how the URL map splits the requests.
    """
    current = state.hold
    release = _adopted(state, observed)
    if current is None or not current.is_resumed or (current.version and release is None):
        return state, ()
    rest = tuple(each for each in state.conditions if each.type != CONDITION)
    revision = max(state.revision, newest_revision, current.revision)
    after = replace(state, hold=None, conditions=rest, revision=revision)
    made: tuple[Transition, ...] = ()
    if release and not _ends_by_itself(state, release):
        after, made = _go_on(after, release, observed, routed, now)
    before, phase = phase_name(state.rollout.phase), phase_name(after.rollout.phase)
    why = f"{current.resumed_by}: goes on with {_named(release)}"
    resumed = Transition(release.version if release else "", before, phase, why)
    dropped = state.rollout.candidate
    if dropped is None or dropped in (after.rollout.candidate, after.rollout.stable):
        return after, (resumed, *made)
    ended = Transition(dropped.version, before, "superseded", why, "superseded", "superseded")
    return after, (ended, resumed, *made)


def _ends_by_itself(state: ModelState, release: Release) -> bool:
    """Whether the model is being retired, or a rollback goes on between the releases it knows."""
    rollout = state.rollout
    match rollout.phase:
        case Retiring():
            return True
        case RollingBack():
            return release in (rollout.stable, rollout.candidate)
    return False


def _go_on(
    state: ModelState,
    release: Release,
    observed: Observed,
    routed: tuple[TrafficWeight, ...],
    now: datetime,
) -> tuple[ModelState, tuple[Transition, ...]]:
    """The rollout at the last step of the release, or settled if that is the stable one, or serves
    alone from a group that the rollout does not share. A release that is desired and newer follows
    as usual.
    """
    desired, is_over = state.desired, _over(state.rollout, release, observed)
    stable, serving = is_over.stable, is_over.serving_group
    if stable and release.version == stable.version:
        if desired.release == state.rollout.candidate:
            desired = replace(desired, release=release)
        return replace(state, rollout=is_over, desired=desired), ()
    if release not in (desired.release, state.rollout.candidate):
        generation = desired.generation + 1
        event_id = f"resumed-{generation}"
        intent = Intent("rollback", event_id, now, now, release.version, generation, release)
        release = restored_release(intent)
        desired = replace(join(desired, intent), release=release, generation=generation)
    forced = replace(desired, release=replace(release, force=True), paused="", promoted=False)
    begun = replace(transitions.begin(is_over, forced, now).rollout, candidate=release)
    if release == desired.release:
        desired = replace(desired, paused="", promoted=False)
    swap, strategy = swap_of(is_over, release), strategy_of(release)
    group, count = strategy.candidate_group(swap), len(strategy.steps(swap))
    weight, granted = 0, 0
    if stable and group != serving and _group_of(release, observed) == group:
        if _group_of(stable, observed) is None:
            why = f"release {release.version} serves alone"
            made = transitions.succeed(begun, desired, None, why, now)
            settled = transitions.end_watch(made.rollout)
            return replace(state, rollout=settled, desired=desired), made.transitions
        weight = next((each.weight for each in routed if each.colour == group), 0)
        granted = count if weight == FULL_WEIGHT else 0
    last = Stepping(count - 1, now, weight, granted=granted)
    return replace(state, rollout=replace(begun, phase=last), desired=desired), ()


def _over(rollout: Rollout, release: Release, observed: Observed) -> Rollout:
    """The rollout when it is over, with the groups as they are: `serving_group` is the one from
    which the release finds itself where it runs.
    """
    colour, serving = _group_of(release, observed), rollout.serving_group
    if colour:
        in_place = replace(rollout, serving_group=colour)
        serving = strategy_of(release).candidate_group(swap_of(in_place, release))
    elif _group_of(None, observed):
        serving = _group_of(rollout.stable, observed) or _group_of(None, observed)
    kept = rollout.kept
    if kept and (kept.colour == serving or _group_of(kept.release, observed) != kept.colour):
        kept = None
    return replace(
        rollout,
        phase=Settled(),
        candidate=None,
        steps_digest="",
        progress=None,
        paused=None,
        promoted=False,
        serving_group=serving,
        kept=kept,
    )


def _group_of(release: Release | None, observed: Observed) -> Colour | None:
    """The group with the most instances of the release, or of any; None if there are none."""
    sizes = {
        group.colour: sum(
            not each.is_leaving and (release is None or each.template == release.template)
            for each in group.instances
        )
        for group in observed.groups
    }
    colour = max(sizes, key=lambda each: sizes[each], default=None)
    return colour if colour and sizes[colour] else None


def _adopted(state: ModelState, observed: Observed) -> Release | None:
    """The known release of the version that a person named, else of the only template that runs,
    else the one that is desired.
    """
    version = state.hold.version if state.hold else ""
    if version:
        return next((each for each in _known(state) if each.version == version), None)
    if isinstance(state.rollout.phase, Retiring):
        return None
    running = _running(observed)
    found = (each for each in _known(state) if {each.template} == running)
    return next(found, state.desired.release)


def _known(state: ModelState) -> tuple[Release, ...]:
    """The releases that the state knows, what serves in it before what it only desires."""
    rollout = state.rollout
    named = (rollout.stable, rollout.candidate, state.desired.release, rollout.previous)
    return tuple(release for release in named if release)


def _running(observed: Observed) -> set[str]:
    return {
        instance.template
        for group in observed.groups
        for instance in group.instances
        if instance.template and not instance.is_leaving
    }


def _why(state: ModelState, newest_revision: int, observed: Observed) -> str:
    running = ", ".join(sorted(_running(observed))) or "no template"
    if state.hold:
        origin = f"resume changes nothing: release {state.hold.version} is not known"
    else:
        origin = (
            f"the store was restored: the fleet was changed at revision {newest_revision}, and this"
            f" state is of revision {state.revision}"
        )
    return (
        f"{origin}; the fleet runs {running} and is left as it is; publish the release that runs"
        " again, unless it was published before the backup, and send resume, which otherwise goes"
        f" on with {_named(_adopted(replace(state, hold=None), observed))}"
    )


def _named(release: Release | None) -> str:
    return f"release {release.version}" if release else "its retirement"


def _transition(state: ModelState, why: str) -> Transition:
    release, phase = release_in_focus(state.rollout), phase_name(state.rollout.phase)
    return Transition(release.version if release else "", phase, phase, why)
