"""Phase `Settled`: begins toward a newer release, watches the stable one, ends the keep. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rollout import analysis, baseline, capacity, routing, transitions
from rollout.gates import WATCH_GATES
from rollout.gates.base import Failed, Passed, duration, judge
from rollout.intents import is_waited_for
from rollout.judging import context_of, frozen_for, health_of, with_progress
from rollout.model import Desired, Evidence, Kept, Observed, Rollout, Stepping
from rollout.spec.defaults import progress_deadline_seconds
from rollout.starting import await_starting, without_wait
from rollout.strategies import has_own_group
from rollout.targets import plan_of
from rollout.transitions import PhaseChange
from rollout.way_back_time import exceeds_limit


def judge_settled(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    """Begin toward a newer release, which has to wait for the group that is kept; else watch the
    stable one, and end the keep when its time is over. What has failed the stable one comes first:
    the newer release begins when that has gone back.
    """
    kept, since, rollout = rollout.kept, rollout.starting_since, without_wait(rollout)
    if rollout.watched_since and (failure := rollout.failure):
        return transitions.take_back(
            rollout, desired, "rolled_back", failure.reason, failure.why, now
        )
    if kept and kept.is_leaving:
        if observed.group(kept.colour) or evidence.pending_changes:
            return _await_removal(rollout, desired, kept, evidence, now)
        rollout, kept = replace(rollout, kept=None), None
    is_frozen = frozen_for(evidence, desired.release) is not None
    if kept and transitions.has_newer(rollout, desired) and not is_frozen:
        change = _yield_kept(rollout, desired, kept, now)
    else:
        change = _begin(rollout, desired, since, observed, evidence, now)
    if not change.transitions and rollout.watched_since:
        watched = _watch(rollout, desired, rollout.watched_since, observed, evidence, now)
        change = replace(
            watched,
            waiting_for=change.waiting_for,
            frozen=change.frozen,
            scarce=change.scarce,
            is_delayed=change.is_delayed,
        )
    drained_at = routing.kept_drained_at(kept) if kept else None
    if kept and drained_at and not change.transitions and now >= max(kept.until, drained_at):
        why = "it was kept for long enough"
        return transitions.end_keep(change.rollout, desired, kept, why, now)
    return change


def _await_removal(
    rollout: Rollout, desired: Desired, kept: Kept, evidence: Evidence, now: datetime
) -> PhaseChange:
    """A newer release needs the place. After the deadline a condition says that the group is still
    there: something outside of Slipway may keep it, such as a URL map that names its backend
    service.
    """
    waiting_for = f"the {kept.colour} group goes"
    deadline = timedelta(seconds=progress_deadline_seconds(kept.release.spec))
    if now - kept.until < deadline:
        return PhaseChange(rollout, desired, waiting_for=waiting_for)
    why = (
        f"the {kept.colour} group of release {kept.release.version} could not be removed for"
        f" {duration(deadline)}; find out what still refers to it or to its backend service"
    )
    if newer := desired.release if transitions.has_newer(rollout, desired) else None:
        why += f"; release {newer.version} begins after that"
    return PhaseChange(rollout, desired, waiting_for=why, warnings=(why,))


def _yield_kept(rollout: Rollout, desired: Desired, kept: Kept, now: datetime) -> PhaseChange:
    """The release of the kept group is restored from it. Any other one needs its place: it ends the
    keep once the group has drained, or waits for its end if `on_newer` of what serves says so.
    """
    newer, stable = desired.release, rollout.stable
    if newer and newer.is_restored and newer.version == kept.release.version:
        why = f"release {newer.version} is restored, and its group is kept"
        return transitions.take_back(rollout, desired, "aborted", "aborted", why, now)
    is_urgent = desired.promoted or (newer is not None and newer.is_restored)
    if stable and is_waited_for(stable) and not is_urgent:
        waiting_for = f"the {kept.colour} group is kept until {kept.until:%Y-%m-%dT%H:%M:%SZ}"
        return PhaseChange(rollout, desired, waiting_for=waiting_for)
    drained_at = routing.kept_drained_at(kept)
    if drained_at is None or now < drained_at:
        until = f" until {drained_at:%Y-%m-%dT%H:%M:%SZ}" if drained_at else ""
        return PhaseChange(rollout, desired, waiting_for=f"the {kept.colour} group drains{until}")
    why = f"release {newer.version if newer else ''} needs its place"
    return transitions.end_keep(rollout, desired, kept, why, now)


def _begin(
    rollout: Rollout,
    desired: Desired,
    since: datetime | None,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    """`since`: see `await_starting`."""
    change = transitions.begin(rollout, desired, now)
    if exceeded := _exceeds_at_once(change.rollout, observed):
        return transitions.refuse_long_way_back(rollout, desired, exceeded)
    candidate = change.rollout.candidate
    if frozen := frozen_for(evidence, candidate):
        return PhaseChange(rollout, desired, waiting_for=frozen.why, frozen=frozen)
    if candidate is None:
        return change
    if lack := baseline.lack_of_baseline(rollout, candidate, evidence, now):
        if lack.is_final:
            return transitions.refuse_without_baseline(rollout, desired, lack.why)
        return PhaseChange(
            rollout, desired, waiting_for=lack.why, warnings=(lack.why,), is_delayed=True
        )
    if evidence.replanned:
        return transitions.refuse_changed_plan(rollout, desired, evidence.replanned)
    if not (change.rollout.promoted or candidate.is_restored):
        since, starting = await_starting(change.rollout, since, observed, now)
        if starting:
            waiting = replace(rollout, starting_since=since)
            return PhaseChange(waiting, desired, waiting_for=starting)
    begun = replace(change.rollout, gates=baseline.records_before(evidence))
    change = replace(change, rollout=begun)
    choice = capacity.choose(rollout, candidate, observed, evidence.room)
    if choice.lacks:
        return PhaseChange(rollout, desired, waiting_for=choice.lacks, scarce=choice.lacks)
    return transitions.with_capacity(change, choice.mode, choice.why)


def _exceeds_at_once(begun: Rollout, observed: Observed) -> str:
    """Why the first step may not be entered. What a second group gets is decided later."""
    if not isinstance(begun.phase, Stepping) or has_own_group(begun):
        return ""
    _, _, steps = plan_of(begun)
    return exceeds_limit(begun, steps[begun.phase.step], observed)


def _watch(
    rollout: Rollout,
    desired: Desired,
    since: datetime,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    """The stable release after its bake."""
    rollout, health = with_progress(rollout, health_of(rollout, observed), evidence, now)
    verdict = judge(WATCH_GATES, context_of(rollout, health, evidence, since, now))
    match verdict:
        case Failed(reason, why):
            return transitions.take_back(rollout, desired, "rolled_back", reason, why, now)
        case Passed() if not _gates_watch(rollout, now):
            return PhaseChange(transitions.end_watch(rollout), desired)
        case _:
            return PhaseChange(rollout, desired, warnings=analysis.lacks_of(rollout, now))


def _gates_watch(rollout: Rollout, now: datetime) -> bool:
    """Whether the release's own gates still watch it: as long as the old group is kept."""
    kept = rollout.kept
    return bool(analysis.gates_of(rollout) and kept and now < kept.until)
