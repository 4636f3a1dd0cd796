"""Decides where a rollout goes next: `advance(rollout, desired, observed, evidence, now)`.

Called by `handlers/reconcile/decide.py` once per pass. Pure and total: the present phase decides.
What people ask for was applied when it was accepted (`rollout/intents.py`).

    Settled ──newer release──> Stepping ──last step passed──> Baking ──baked──> Settled (stable)
                                  └──failed, aborted, superseded──> RollingBack <──┘
                                               └──none of the candidate left──> Settled (as before)
    any ──retire──> Retiring ──nothing left──> Settled (nothing serves)

Invariant: a phase ends only because the observed state shows that it may; nothing here knows
whether a call succeeded. When a phase ends is decided here, how it ends in `transitions.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from rollout import capacity, capacity_lease, requeue, rollback, routing, transitions
from rollout.conditions import conditions_of
from rollout.gates import BAKE_GATES, STEP_GATES, WATCH_GATES
from rollout.gates.base import (
    AwaitedApproval,
    Failed,
    GateContext,
    Inconclusive,
    Passed,
    Query,
    Traffic,
    Verdict,
    Waiting,
    judge,
    queries,
)
from rollout.gates.clocks import decode, lost_instances
from rollout.gates.release_health import ReleaseHealth, observe_release, update_progress
from rollout.gates.traffic import PROPAGATION
from rollout.intents import is_waited_for
from rollout.model import (
    FULL_WEIGHT,
    Baking,
    Decision,
    Desired,
    Evidence,
    FleetTarget,
    Frozen,
    GroupTarget,
    Instance,
    Kept,
    Observed,
    Progress,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Stepping,
    Target,
)
from rollout.rollback import WayBack
from rollout.sizing import demand_query
from rollout.spec.compatibility import cannot_share_group
from rollout.spec.defaults import progress_deadline_seconds
from rollout.spec.steps import ApproveStep, promoted_step
from rollout.step_context import context_of_step, with_demand, with_lack
from rollout.strategies import has_own_group, strategy_of, swap_of
from rollout.strategies.base import FIRST_GROUP, Step, Strategy, Swap, steps_digest
from rollout.transitions import PhaseChange, candidate_of
from rollout.way_back_time import (
    exceeds_limit,
    healthy_and_needed,
    is_short,
    seconds_to_roll_back,
    weight_to_leave,
)

OBSERVED_EVERY = timedelta(seconds=60)
ALWAYS = datetime.min.replace(tzinfo=UTC)


def advance(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> Decision:
    change = decide(mark_observed(rollout, now), desired, observed, evidence, now)
    target = target_of(change.rollout, change.desired, observed)
    lease = capacity_lease.renew(change.rollout.capacity_lease, target, observed, now)
    return Decision(
        rollout=replace(change.rollout, capacity_lease=lease),
        desired=change.desired,
        target=target,
        requeue_at=requeue.after_decision(
            change.rollout,
            has_transitions=bool(change.transitions),
            frozen_until=change.frozen.until if change.frozen else None,
            is_scarce=bool(change.scarce),
            now=now,
        ),
        waiting_for=change.waiting_for,
        transitions=change.transitions,
        conditions=conditions_of(
            change.rollout, change.frozen, change.scarce, change.warnings, now
        ),
        seconds_to_roll_back=seconds_to_roll_back(change.rollout, observed, now),
    )


def mark_observed(rollout: Rollout, now: datetime) -> Rollout:
    """The rollout as observed now. The time by which the pass is late counts neither as bake time
    nor toward a deadline. A pause counts for nothing anyway: `resume` shifts by all of it.

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
    late = gap - (requeue.interval(rollout, last) or timedelta(0))
    if late > OBSERVED_EVERY:
        rollout = transitions.shift_clocks(transitions.shift(rollout, late), late)
    return replace(rollout, last_observed_at=now)


# ---- The target of each phase


def target_of(rollout: Rollout, desired: Desired, observed: Observed) -> Target:
    """The target of the present phase. Unlike `advance`, it decides nothing; a pass calls it first
    to see which changes are pending.
    """
    fleet = _fleet(rollout, observed)
    if rollout.candidate and rollout.stable:
        serving, lease = rollout.serving_group or FIRST_GROUP, rollout.capacity_lease
        groups = capacity_lease.with_floor(fleet.groups, lease, serving, observed)
        fleet = replace(fleet, groups=groups)
    releases = (rollout.stable, rollout.candidate, rollout.previous, desired.release)
    kept = releases if fleet.groups else ()
    templates = frozenset(release.template for release in kept if release)
    return Target(desired.model, fleet.groups, templates, fleet.traffic, fleet.is_draining)


def _fleet(rollout: Rollout, observed: Observed) -> FleetTarget:
    match rollout.phase:
        case Settled():
            stable = rollout.stable
            if stable is None:
                return FleetTarget()
            return strategy_of(stable).steady_target(stable, rollout.serving_group, rollout.kept)
        case Stepping() as at:
            swap, strategy, steps = _plan_of(rollout)
            at = replace(at, step=min(at.step, len(steps) - 1))
            return strategy.target(swap, at, observed)
        case Baking(since):
            swap, strategy, steps = _plan_of(rollout)
            at = Stepping(len(steps) - 1, since, FULL_WEIGHT, granted=len(steps))
            return strategy.target(swap, at, observed)
        case RollingBack(in_place=in_place, is_drained=is_drained, weight=weight):
            swap, strategy, _ = _plan_of(rollout)
            if swap.stable is None:
                return FleetTarget(is_draining=not is_drained)
            return strategy.rollback_target(
                swap, observed, in_place=in_place, is_drained=is_drained, weight=weight
            )
        case Retiring(is_drained=is_drained):
            return FleetTarget(is_draining=not is_drained)
        case _:
            assert_never(rollout.phase)


def _plan_of(rollout: Rollout) -> tuple[Swap, Strategy, tuple[Step, ...]]:
    candidate = candidate_of(rollout)
    swap, strategy = swap_of(rollout, candidate), strategy_of(candidate)
    return swap, strategy, strategy.steps(swap)


# ---- The decision of each phase


def decide(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    """What somebody changed in the route is restored, and recorded with the decision."""
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
            change = _judge_settled(rollout, desired, observed, evidence, now)
            return replace(change, warnings=warnings)
        case Stepping() as phase:
            rollout = _without_lost(rollout, observed)
            change = _yield_to_newer(rollout, desired, observed, evidence, now) or _judge_step(
                rollout, desired, phase, observed, evidence, now
            )
            if rollout.stable_kept is not None:
                return change  # what it took over is not in order yet
            return _end_untouched(change, observed, evidence)
        case Baking() as phase:
            rollout = _without_lost(rollout, observed)
            newer = _yield_to_newer(rollout, desired, observed, evidence, now)
            return newer or _judge_bake(rollout, desired, phase, observed, evidence, now)
        case RollingBack():
            return _judge_rollback(rollout, desired, rollout.phase, observed, evidence, now)
        case Retiring():
            rollout = _drain(rollout, observed, now)
            if drains := _draining(rollout):
                return _wait(rollout, desired, drains, evidence)
            waiting_for = _remaining(observed) or _first(evidence.pending_changes)
            if waiting_for:
                return _wait(rollout, desired, waiting_for, evidence)
            return transitions.finish_retirement(rollout, desired)
        case _:
            assert_never(rollout.phase)


def _judge_settled(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    """Begin toward a newer release, which has to wait for the group that is kept; else watch the
    stable one, and end the keep when its time is over.
    """
    kept = rollout.kept
    if kept and kept.is_leaving:
        if observed.group(kept.colour) or evidence.pending_changes:
            return PhaseChange(rollout, desired, waiting_for=f"the {kept.colour} group goes")
        rollout, kept = replace(rollout, kept=None), None
    is_frozen = _frozen(evidence, desired.release) is not None
    if kept and transitions.has_newer(rollout, desired) and not is_frozen:
        change = _yield_kept(rollout, desired, kept, now)
    else:
        change = _begin(rollout, desired, observed, evidence, now)
    if not change.transitions and rollout.watched_since:
        watched = _watch(rollout, desired, rollout.watched_since, observed, evidence, now)
        change = replace(
            watched,
            waiting_for=change.waiting_for,
            frozen=change.frozen,
            scarce=change.scarce,
        )
    drained_at = routing.kept_drained_at(kept) if kept else None
    if kept and drained_at and not change.transitions and now >= max(kept.until, drained_at):
        why = "it was kept for long enough"
        return transitions.end_keep(change.rollout, desired, kept, why)
    return change


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
    return transitions.end_keep(rollout, desired, kept, why)


def _begin(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange:
    change = transitions.begin(rollout, desired, now)
    if exceeded := _exceeds_at_once(change.rollout, observed):
        return transitions.refuse_long_way_back(rollout, desired, exceeded)
    candidate = change.rollout.candidate
    if frozen := _frozen(evidence, candidate):
        return PhaseChange(rollout, desired, waiting_for=frozen.why, frozen=frozen)
    if candidate is None:
        return change
    choice = capacity.choose(rollout, candidate, observed, evidence.room)
    if choice.lacks:
        return PhaseChange(rollout, desired, waiting_for=choice.lacks, scarce=choice.lacks)
    return transitions.with_capacity(change, choice.mode, choice.why)


def _exceeds_at_once(begun: Rollout, observed: Observed) -> str:
    """Why the first step may not be entered. What a second group gets is decided later."""
    if not isinstance(begun.phase, Stepping) or has_own_group(begun):
        return ""
    _, _, steps = _plan_of(begun)
    return exceeds_limit(begun, steps[begun.phase.step], observed)


def _frozen(evidence: Evidence, release: Release | None) -> Frozen | None:
    """What keeps the release from going on now. A commanded rollback is exempt, unless said."""
    frozen = evidence.frozen
    if release is None or frozen is None:
        return None
    return None if release.is_restored and not frozen.rollbacks else frozen


def _without_lost(rollout: Rollout, observed: Observed) -> Rollout:
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


def _end_untouched(change: PhaseChange, observed: Observed, evidence: Evidence) -> PhaseChange:
    """A rollout that ends before anything was created for it needs no way back: it is over at
    once.
    """
    rollout = change.rollout
    if not isinstance(rollout.phase, RollingBack) or not evidence.has_no_template:
        return change
    if rollout.stable is None and _remaining(observed):
        return change
    if any(group.colour != rollout.serving_group for group in observed.groups):
        return change
    ended = transitions.finish_rollback(rollout, change.desired, rollout.phase)
    return replace(ended, transitions=(*change.transitions, *ended.transitions))


def _yield_to_newer(
    rollout: Rollout, desired: Desired, observed: Observed, evidence: Evidence, now: datetime
) -> PhaseChange | None:
    """A newer desired release ends the present rollout, unless `rollout.on_newer` is `wait`, or the
    policy freezes both. A rollback does not wait.
    """
    candidate, newer = candidate_of(rollout), desired.release
    if newer is None or newer.generation == candidate.generation:
        return None
    if _frozen(evidence, newer):
        return None
    if candidate.spec.rollout.on_newer == "wait" and not newer.is_restored:
        return None
    why = f"release {newer.version} is newer"
    if rollout.stable_kept is not None and transitions.can_begin(rollout, newer):
        return transitions.replace_candidate(rollout, desired, why, now)
    # Without a stable release to return to, the newer release takes over at once, unless both
    # cannot share a group. While a third version still has instances, it has to wait for them to
    # go.
    if rollout.stable or cannot_share_group(candidate.spec, newer.spec):
        return transitions.roll_back(rollout, desired, "superseded", "superseded", why, now)
    if any(
        instance.template != candidate.template
        for group in observed.groups
        for instance in group.instances
    ):
        return None
    return transitions.replace_candidate(rollout, desired, why, now)


def _judge_step(
    rollout: Rollout,
    desired: Desired,
    phase: Stepping,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    _, _, steps = _plan_of(rollout)
    group = _group_in_focus(rollout, observed)
    rollout = with_demand(rollout, group, observed, evidence, now)
    health = _health(rollout, observed)
    if steps_digest(steps) != rollout.steps_digest:
        restarted = replace(rollout, steps_digest=steps_digest(steps))
        why = "the steps of its strategy have changed"
        return transitions.enter_step(restarted, desired, 0, health, why, now)
    rollout, health = _with_progress(rollout, health, evidence, now)
    step = steps[phase.step]
    group = _group_in_focus(rollout, observed)
    if step.is_routed:
        phase = with_lack(rollout, phase, step, group, evidence, now)
        rollout = replace(rollout, phase=phase)
    context = _context(rollout, health, evidence, phase.since, now)
    context = context_of_step(context, rollout, phase, step, group)
    context = replace(context, approval=_approval(rollout, phase, step, now))
    traffic = context.traffic
    verdict = judge(STEP_GATES, context)
    if not isinstance(verdict, Passed) or rollout.paused:
        return _hold(rollout, desired, verdict, health, now)
    if traffic and not traffic.is_granted:
        if exceeded := exceeds_limit(rollout, step, observed):
            return _stop(rollout, desired, exceeded, observed, now)
        basis = traffic.basis or ""
        return transitions.grant(rollout, desired, phase, step, health, basis, now)
    if phase.step + 1 == len(steps):
        return transitions.start_baking(rollout, desired, health, verdict.why, now)
    if frozen := _frozen(evidence, candidate_of(rollout)):
        waiting = _hold(rollout, desired, verdict, health, now)
        return replace(waiting, waiting_for=frozen.why, frozen=frozen)
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


def queries_of(rollout: Rollout, observed: Observed, now: datetime) -> tuple[Query, ...]:
    """What the gates that are due, and the size of the candidate, need to know of requests."""
    phase = rollout.phase
    if not isinstance(phase, Stepping) or rollout.paused or rollout.stable is None:
        return ()
    _, _, steps = _plan_of(rollout)
    step = steps[min(phase.step, len(steps) - 1)]
    if not step.is_routed:
        return ()
    if not phase.is_granted:
        query = demand_query(candidate_of(rollout).spec, now)
        return (query,) if query else ()
    group, health = _group_in_focus(rollout, observed), _health(rollout, observed)
    context = _context(rollout, health, Evidence(), phase.since, now)
    return queries(STEP_GATES, context_of_step(context, rollout, phase, step, group))


def _judge_bake(
    rollout: Rollout,
    desired: Desired,
    phase: Baking,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    health = _health(rollout, observed)
    rollout, health = _with_progress(rollout, health, evidence, now)
    began, traffic = phase.since, None
    if has_own_group(rollout):
        traffic = Traffic("all requests", 0, is_granted=True, routed_since=phase.routed_since)
        began = max(began, (phase.routed_since or now) + PROPAGATION)
    if rollout.promoted or phase.is_promoted:
        began = ALWAYS
    context = _context(rollout, health, evidence, began, now)
    verdict = judge(BAKE_GATES, replace(context, traffic=traffic))
    if not isinstance(verdict, Passed) or rollout.paused:
        return _hold(rollout, desired, verdict, health, now)
    return transitions.succeed(rollout, desired, health, verdict.why, now)


def _watch(
    rollout: Rollout,
    desired: Desired,
    since: datetime,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    """The stable release after its bake."""
    rollout, health = _with_progress(rollout, _health(rollout, observed), evidence, now)
    verdict = judge(WATCH_GATES, _context(rollout, health, evidence, since, now))
    match verdict:
        case Failed(reason, why):
            return transitions.take_back(rollout, desired, "rolled_back", reason, why, now)
        case Passed():
            return PhaseChange(transitions.end_watch(rollout), desired)
        case _:
            return PhaseChange(rollout, desired)


def watched_release(rollout: Rollout) -> Release | None:
    """The release whose instances are judged now: the candidate, or a stable one after its bake."""
    match rollout.phase:
        case Stepping() | Baking():
            return rollout.candidate
        case Settled() if rollout.watched_since:
            return rollout.stable
        case _:
            return None


def unexplained(rollout: Rollout, observed: Observed) -> tuple[Instance, ...]:
    """The instances that were lost since the pass before: whose fault that is must be found out
    before `advance` judges.
    """
    if watched_release(rollout) is None or rollout.progress is None:
        return ()
    health = _health(rollout, observed)
    return lost_instances(decode(rollout.progress.clocks), health.instances)


def _health(rollout: Rollout, observed: Observed) -> ReleaseHealth:
    """The health of the release that is judged, in the group that runs it."""
    release = watched_release(rollout) or candidate_of(rollout)
    target = _group_in_focus(rollout, observed)
    return observe_release(target, release, observed.group(target.colour))


def _group_in_focus(rollout: Rollout, observed: Observed) -> GroupTarget:
    release = watched_release(rollout) or candidate_of(rollout)
    colour = rollout.serving_group or FIRST_GROUP
    if rollout.candidate:
        colour = strategy_of(release).candidate_group(swap_of(rollout, release))
    return next(group for group in _fleet(rollout, observed).groups if group.colour == colour)


def _with_progress(
    rollout: Rollout, health: ReleaseHealth, evidence: Evidence, now: datetime
) -> tuple[Rollout, ReleaseHealth]:
    progress = rollout.progress or Progress(0, now)
    is_patient = capacity.is_patient(rollout)
    health, progress = update_progress(
        health, progress, evidence.losses, now, is_patient=is_patient
    )
    return replace(rollout, progress=progress), health


def _context(
    rollout: Rollout, health: ReleaseHealth, evidence: Evidence, since: datetime, now: datetime
) -> GateContext:
    """What the gates judge by. No deadline runs while the rollout is paused."""
    progress = rollout.progress or Progress(0, now)
    if rollout.paused:
        progress = replace(progress, improved_at=now)
    is_patient = capacity.is_patient(rollout)
    return GateContext(health, progress, evidence, since, now, is_patient=is_patient)


def _hold(
    rollout: Rollout,
    desired: Desired,
    verdict: Verdict,
    health: ReleaseHealth,
    now: datetime,
) -> PhaseChange:
    """Stay, roll back, or wait for a person, as the verdict says. A pause stops the way forward
    only: a failed candidate is rolled back all the same, unless it is paused because it failed.
    """
    paused = rollout.paused
    match verdict:
        case Failed(reason, why):
            if paused and paused.after_failure:
                return PhaseChange(rollout, desired, waiting_for=paused.why)
            if candidate_of(rollout).spec.rollout.on_failure == "pause":
                return transitions.pause(rollout, desired, why, now, after_failure=True)
            return transitions.roll_back(rollout, desired, "rolled_back", reason, why, now)
        case Inconclusive(why):
            if paused:
                return PhaseChange(rollout, desired, waiting_for=why, warnings=(why,))
            return transitions.pause(rollout, desired, why, now)
        case Waiting(why) | Passed(why):
            waiting_for = paused.why if paused else why
            warnings = _warnings(rollout.progress, health)
            return PhaseChange(rollout, desired, waiting_for=waiting_for, warnings=warnings)
        case _:
            assert_never(verdict)


def _warnings(progress: Progress | None, health: ReleaseHealth) -> tuple[str, ...]:
    """What people should know of the environment while the rollout waits or goes on."""
    members = health.group.instances if health.group else ()
    problems = [each.problem.message for each in members if each.problem and each.is_blocked]
    problems += [problem.message for problem in health.problems]
    if progress and progress.halted_by:
        problems.append(progress.halted_by)
    return tuple(problems)[:1]


def _judge_rollback(
    rollout: Rollout,
    desired: Desired,
    phase: RollingBack,
    observed: Observed,
    evidence: Evidence,
    now: datetime,
) -> PhaseChange:
    """End, find another way, give way to a newer release, or wait: see `rollout/rollback.py`."""
    rollout = _pace(rollout, phase, observed, now)
    if isinstance(rollout.phase, RollingBack) and rollout.phase.weight:
        why = f"the candidate keeps {rollout.phase.weight / 10:g} % of the requests until the"
        why += " stable release has the instances for them"
        return replace(_wait(rollout, desired, why, evidence), warnings=(why,))
    rollout = _drain(rollout, observed, now)
    if drains := _draining(rollout):
        if transitions.has_newer(rollout, desired) and desired.release:
            drains += f"; release {desired.release.version} may take over after that"
        return _wait(rollout, desired, drains, evidence)
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
    waited = _wait(waiting, desired, way.waiting_for, evidence)
    return replace(waited, warnings=() if why else waited.warnings)


def _pace(rollout: Rollout, phase: RollingBack, observed: Observed, now: datetime) -> Rollout:
    """The rollout with the weight that its candidate keeps: none, unless the stable release lacks
    instances and the candidate has healthy ones. Without progress until the deadline, all requests
    go back too: a rollback must end.
    """
    stable, candidate = rollout.stable, candidate_of(rollout)
    if not phase.weight or stable is None:
        return rollout
    colour = rollout.serving_group or FIRST_GROUP
    weight = weight_to_leave(phase.weight, *healthy_and_needed(stable, colour, observed))
    groups = (group for group in observed.groups if group.colour != colour)
    instances = [each for group in groups for each in group.instances]
    is_able = any(each.is_healthy and each.template == candidate.template for each in instances)
    patience = timedelta(seconds=progress_deadline_seconds(stable.spec))
    if not is_able or now - (phase.improved_at or phase.since) >= patience:
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
        return replace(rollout, phase=replace(phase, is_drained=True, improved_at=now))
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
    target = next(group for group in _fleet(rollout, observed).groups if group.colour == colour)
    return rollback.observe_return(stable, target, observed, evidence)


def _successor(rollout: Rollout, desired: Desired, observed: Observed) -> Release | None:
    """The newer release that a rollback may give way to. That is not the stable release, published
    again: the rollback leads to it. Nor is it one that needs a group which has to go before: that
    of the candidate, or of a first release that it cannot share.
    """
    newer, stable, candidate = desired.release, rollout.stable, candidate_of(rollout)
    if newer is None or newer.generation == candidate.generation:
        return None
    if stable:
        others = {group.colour for group in observed.groups} - {rollout.serving_group}
        needed = strategy_of(newer).candidate_group(swap_of(rollout, newer))
        return None if needed in others or newer.version == stable.version else newer
    return None if observed.groups and cannot_share_group(candidate.spec, newer.spec) else newer


def _remaining(observed: Observed) -> str:
    names = [f"the {group.colour} group" for group in observed.groups] + list(observed.leftovers)
    verb = "exists" if len(names) == 1 else "exist"
    return f"{', '.join(names[:3])} still {verb}" if names else ""


def _wait(rollout: Rollout, desired: Desired, waiting_for: str, evidence: Evidence) -> PhaseChange:
    warnings = tuple(problem.message for problem in evidence.refusals)
    return PhaseChange(rollout, desired, waiting_for=waiting_for, warnings=warnings)


def _first(reasons: tuple[str, ...]) -> str:
    return reasons[0] if reasons else ""
