"""Decides what one pass does: from the state and a snapshot to the state to save and the plan to
apply. Pure.

Called by `handlers/reconcile/loop.py`. It joins the two halves: `rollout` decides, `infra/fleet`
plans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from infra.fleet import naming
from infra.fleet.changes import kinds_of
from infra.fleet.marks import newest_revision
from infra.fleet.model import Plan, Snapshot
from infra.fleet.observe import is_routed, observe, outputs, routed_weights
from infra.fleet.plan import plan
from infra.fleet.resources.instance_group import templates_of
from infra.fleet.whole_plan import whole_plan
from rollout import restored, stopped
from rollout.advance import advance
from rollout.capacity_lease import without_ended
from rollout.counts import Counts, count, releases_of
from rollout.course import follow, with_way_back
from rollout.deferred import dataclass
from rollout.measurements import VerdictAnswer, WindowAnswer
from rollout.model import (
    Decision,
    Evidence,
    Loss,
    Measurement,
    Observed,
    Problem,
    Release,
    Retiring,
    RollingBack,
    Rollout,
    Room,
    Settled,
    Target,
)
from rollout.plan_hash import changed_actions
from rollout.policy.caps import clamp
from rollout.policy.checks import policy_violations
from rollout.policy.freeze import frozen
from rollout.policy.policy import Policy
from rollout.state import ModelState, settle
from rollout.targets import target_of
from rollout.transitions import has_newer


@dataclass(frozen=True)
class Plans:
    """The last two plans with what they were made from. While nothing that was read changes,
    neither does the plan for the same target.
    """

    made: tuple[tuple[Target, Snapshot, Plan], ...] = ()

    def get(self, target: Target, snapshot: Snapshot, *, is_light: bool) -> tuple[Plan, Plans]:
        """`is_light`: too little was read to plan, because nothing is expected to change."""
        if is_light:
            return Plan(), self
        for made_for, made_from, result in self.made:
            if made_for == target and made_from == snapshot:
                return result, self
        result = plan(target, snapshot) if snapshot.bodies else Plan()
        return result, Plans(((target, snapshot, result), *self.made[:1]))


@dataclass(frozen=True)
class PassDecision:
    """What one pass decided: the state to save, the plan to apply, the transitions to record.
    `target` is the digest of what the plan leads to. `blocked`: why the plan was dropped.
    `is_routed`: see `Evidence`.
    """

    state: ModelState
    plan: Plan
    decision: Decision
    blocked: tuple[Problem, ...] = ()
    target: str = ""
    is_routed: bool = True
    counts: Counts | None = None

    @property
    def is_noop(self) -> bool:
        return self.plan.is_empty and not self.decision.transitions

    @property
    def ends_in_nothing(self) -> bool:
        """Whether a release ends because nothing of its model exists any more."""
        is_end = any(each.outcome for each in self.decision.transitions)
        return is_end and not self.decision.target.groups

    @property
    def verifies(self) -> bool:
        """Whether nothing differs from the target, and nothing stands in its way."""
        return self.is_noop and not self.plan.problems and not self.blocked and bool(self.target)


def decide(
    state: ModelState,
    snapshot: Snapshot,
    policy: Policy,
    refusals: tuple[Problem, ...],
    plans: Plans,
    now: datetime,
    *,
    is_light: bool = False,
    losses: tuple[Loss, ...] = (),
    room: Room | None = None,
    edited_by: str = "",
    measurements: tuple[Measurement, ...] = (),
    windows: Mapping[str, WindowAnswer | VerdictAnswer] = MappingProxyType({}),
    before: Mapping[str, WindowAnswer] = MappingProxyType({}),
    routine_interval: timedelta = timedelta(0),
) -> tuple[PassDecision, Plans]:
    """`refusals`: what was refused when the last pass of this loop applied its plan. `is_light`:
    nothing but groups, health and what splits requests was read. `losses`: why instances were lost
    since the last pass. `edited_by`: see `Evidence`. `measurements`, `windows`, `before`,
    `routine_interval`: see `Evidence`.
    """
    observed = observe(snapshot, state.desired.model)
    newest = newest_revision(snapshot, state.desired.model)
    routed = routed_weights(snapshot, state.desired.model) if state.hold else ()
    state, adopted = restored.adopt(state, newest, observed, routed, now)
    if restored.is_newer(state, newest):
        target = target_of(state.rollout, state.desired, observed)
        settlement = restored.hold(state, newest, observed, target, now)
        return PassDecision(settlement.state, Plan(), settlement.decision), plans
    stop = policy.stop
    state = state if stop else stopped.start(state, now)
    present = clamp(policy, target_of(state.rollout, state.desired, observed))
    pending, plans = plans.get(present, snapshot, is_light=is_light)
    is_right = is_routed(present, snapshot)
    # Without pending changes, what was refused is no longer desired, or happened by itself.
    earlier = refusals if pending.actions else ()
    evidence = Evidence(
        (*earlier, *pending.problems, *policy_problems(policy, state)),
        tuple(action.why for action in pending.actions),
        losses,
        has_no_template=_has_no_template(state, snapshot),
        frozen=frozen(policy.freezes, now),
        is_routed=is_right,
        edited_by=edited_by,
        room=room,
        measurements=measurements,
        windows=windows,
        before=before,
        replanned="" if is_light else _replanned(state, snapshot, policy),
        routine_interval=routine_interval,
    )
    rollout = stopped.as_paused(state, stop, now) if stop else state.rollout
    evidence = stopped.evidence_while(state, stop, evidence, now) if stop else evidence
    decision = advance(rollout, state.desired, observed, evidence, now)
    clamped = clamp(policy, decision.target)
    next_plan, plans = plans.get(clamped, snapshot, is_light=is_light)
    digest = digest_of(clamped)
    if stop and not stopped.goes_on(state, decision):
        has_changes = not next_plan.is_empty
        decision = stopped.hold(state, decision, stop, now, has_changes=has_changes)
        next_plan, digest = Plan(), ""
    decision = replace(decision, transitions=(*adopted, *decision.transitions))
    found = None if is_light else _outputs(state, snapshot, decision.target)
    settlement = settle(state, decision, (action.why for action in next_plan.actions), found, now)
    counted = count(
        releases_of(state.desired, state.rollout, decision.rollout),
        observed,
        decision.target,
        routed_weights(snapshot, state.desired.model),
        now,
    )
    known = counted if _has_health(observed) else None
    course = follow(state.course, state.rollout, settlement.state.rollout, known, now)
    course = with_way_back(course, decision.seconds_to_roll_back)
    made = PassDecision(
        replace(settlement.state, course=course),
        next_plan,
        settlement.decision,
        target=digest,
        is_routed=is_right,
        counts=counted,
    )
    return made, plans


def _has_health(observed: Observed) -> bool:
    """Whether anything is known about health. Without instances nothing is unknown."""
    found = [each for group in observed.groups for each in group.instances]
    return not found or any(each.health != "unknown" for each in found)


def _outputs(state: ModelState, snapshot: Snapshot, target: Target) -> dict[str, str]:
    """The outputs of the snapshot. The address stays while the gateway's parts are not read."""
    named = target.traffic.settings.spec.traffic.gateway if target.traffic else None
    gateway = naming.gateway_named(named)
    found = outputs(snapshot, state.desired.model, target.main_group, gateway)
    is_read = gateway.address in snapshot.bodies
    is_same = state.outputs.get("gateway", "") == gateway.name
    if not is_read and is_same and "backend_service_url" in found and "address" in state.outputs:
        found["address"] = state.outputs["address"]
    return found


def _replanned(state: ModelState, snapshot: Snapshot, policy: Policy) -> str:
    """Why the plan by which a release that is about to begin was published does not hold any more:
    what it would do now is of another kind.
    """
    rollout, release = state.rollout, state.desired.release
    is_about_to_begin = isinstance(rollout.phase, Settled) and has_newer(rollout, state.desired)
    if release is None or not release.plan or release.is_restored or not is_about_to_begin:
        return ""
    whole = whole_plan(rollout, state.desired, release, policy, snapshot)
    return changed_actions(release.plan, kinds_of(whole.plan))


def _has_no_template(state: ModelState, snapshot: Snapshot) -> bool:
    """Whether the candidate's template was read and does not exist. What a group refers to exists,
    whatever a stale read says.
    """
    candidate = state.rollout.candidate
    if candidate is None:
        return False
    template = naming.template(candidate.template)
    groups = [
        body or {}
        for key, body in snapshot.bodies.items()
        if key.collection == "regionInstanceGroupManagers"
    ]
    is_used = any(template in templates_of(body) for body in groups)
    return snapshot.bodies.get(template, {}) is None and not is_used


def digest_of(target: Target) -> str:
    """The same for the same target, in every process."""
    return hashlib.sha256(repr(_values(target)).encode()).hexdigest()[:16]


def _values(part: object) -> object:
    """A part of a target, with each release as its digest: a spec is long."""
    match part:
        case Release():
            return (part.version, part.digest)
        case tuple():
            return tuple(_values(each) for each in part)
        case frozenset():
            return sorted(part)
        case _:
            return _values(tuple(vars(part).values())) if is_dataclass(part) else part


def policy_problems(policy: Policy, state: ModelState) -> tuple[Problem, ...]:
    """What the policy forbids about the candidate, whatever it allowed when the release was
    accepted. On the way back nothing of it counts any more.
    """
    candidate, stable = state.rollout.candidate, state.rollout.stable
    if candidate is None or isinstance(state.rollout.phase, RollingBack | Retiring):
        return ()
    before = stable.spec if stable else None
    found = policy_violations(
        policy, state.desired.model, candidate.version, candidate.spec, before
    )
    return tuple(Problem("policy", "POLICY", each.why) for each in found)


def applies_candidate(decision: PassDecision) -> bool:
    """Whether the plan would change anything toward the candidate. The way back, and what serves,
    is never blocked by policy.
    """
    candidate = decision.state.rollout.candidate
    is_targeted = candidate is not None and decision.decision.target.runs(candidate)
    return is_targeted and not decision.plan.is_empty


def block(decision: PassDecision, problems: tuple[Problem, ...]) -> PassDecision:
    """Drop the plan. The next pass gets the problems as refusals and rolls back."""
    return replace(decision, plan=Plan(), blocked=problems) if problems else decision


def end_loans(decision: PassDecision) -> PassDecision:
    """The groups are as the target says, though their bounds were not read in this pass."""
    rollout = decision.state.rollout
    lease = without_ended(rollout.capacity_lease, decision.decision.target)
    if lease == rollout.capacity_lease:
        return decision
    rollout = replace(rollout, capacity_lease=lease)
    return replace(decision, state=replace(decision.state, rollout=rollout))


def needs_no_policy(state: ModelState) -> bool:
    """Whether a pass may run though the policy cannot be read: on the way back or out, which no
    policy forbids.
    """
    rollout, desired = state.rollout, state.desired
    is_leaving = isinstance(rollout.phase, RollingBack | Retiring)
    is_gone = (rollout, desired.release) == (Rollout(), None)
    return is_leaving or is_gone
