"""The loop: observe, advance, save, plan, apply, and look again while something is about to change.

Called by `handlers/wakeup.py` with a model's name. One turn works on one model, for `BUDGET` at
most, and may be repeated or cut off anywhere: a decision is saved before anything acts on it, so
that a verdict once reached stands, and every action is idempotent.

    read ─> observe ─> advance ─> save (fenced, with the claim) ─> apply ─┐
      ^                                                                    │
      └────────────── at once after a change, else at requeue_at ────────────┘

Invariant: a turn over a settled model writes nothing anywhere.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from handlers import admission
from handlers.reconcile import lease
from handlers.reconcile.observe import Sight
from infra.compute.apply import apply
from infra.fleet.model import Action, Applied, Failed, Pending, Plan, Result, Snapshot
from infra.fleet.observe import observe, outputs
from infra.fleet.plan import plan
from infra.settings import POLICY, load_project_policy
from infra.store import repository
from infra.store.documents import State
from infra.store.port import Conflict, Document, Unavailable, Write
from infra.store.repository import StoredState
from infra.wiring import World
from rollout.advance import OBSERVATION_GAP, advance, target_of
from rollout.model import (
    Condition,
    Decision,
    Evidence,
    Problem,
    Retiring,
    RollingBack,
    Rollout,
    Settled,
    Target,
    Transition,
    phase_name,
)
from rollout.policy.caps import clamp, violations
from rollout.policy.policy import Policy

BUDGET = timedelta(seconds=45)
RETRY = timedelta(seconds=5)
DUE_FOR_GOOD = timedelta(seconds=120)
SETTLED_RETRY = timedelta(seconds=60)

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class PassDecision:
    """What one look decided: the state to save, the plan to apply, what to tell."""

    state: State
    plan: Plan
    turn: Decision

    @property
    def is_calm(self) -> bool:
        return self.plan.is_empty and not self.turn.transitions


def reconcile(world: World, model: str, event_id: str = "") -> None:
    worker = Worker(world, model, event_id)
    try:
        worker.work()
    except Exception as error:
        log.warning(
            "turn broken off",
            extra={"fields": {"model": model, "event_id": event_id, "why": repr(error)}},
        )
        lease.release(world, model, worker.token, worker.revision)
        raise
    lease.release(world, model, worker.token, worker.revision)


class Worker:
    """One turn at work, and what it holds on to between its looks: the last revision it knows of,
    what it has seen, the plan it tried last and how often again, and what Compute Engine refused of
    that."""

    def __init__(self, world: World, model: str, event_id: str) -> None:
        self.world, self.model, self.event_id = world, model, event_id
        self.token, self.until = world.new_token(), world.clock.now() + BUDGET
        self.revision = 0
        self._held: StoredState | None = None
        self._planner = Planner()
        self._sight = Sight()
        self._tried, self._repeats = Plan(), 0
        self._refusals: tuple[Problem, ...] = ()

    def work(self) -> None:
        while (next_look := self._look()) and next_look <= self.until:
            pause = (next_look - self.world.clock.now()).total_seconds()
            if pause > 0:
                self.world.clock.sleep(pause)
                self._sight.fade()

    def _look(self) -> datetime | None:
        """One pass. Answers when to look again; None when there is nothing to wait for."""
        world, now = self.world, self.world.clock.now()
        documents = world.store.get_many([repository.model_path(self.model), POLICY])
        held = self._read(documents.get(repository.model_path(self.model)))
        if held is None or lease.is_held_by_other(held.state.lease, self.token, now):
            return None
        self.revision = held.state.revision
        try:
            snapshot = self._sight.look(world.compute, held.state)
        except Unavailable as error:
            self._tell_blindness(held, str(error), now)
            raise
        policy = _policy(world, documents, held.state)
        decision = _decide(
            held.state, snapshot, policy, self._refusals, self._planner, world.clock.now()
        )
        self._sight.is_calm = decision.is_calm
        if self._sight.was_glance and not decision.is_calm:
            return now  # look at the rest too before anything is decided
        barred = _barred(world, policy, decision)
        if barred:
            decision = replace(decision, plan=Plan())
        try:
            results = self._carry_out(held, decision)
        except Conflict:
            self._sight = Sight()
            return now  # somebody wrote in between: this look is worth nothing
        self._sight.changed(action.key for action in decision.plan.actions)
        self._repeats = self._repeats + 1 if decision.plan == self._tried else 0
        self._tried = decision.plan
        self._refusals = (
            *barred,
            *(result.problem for result in results if isinstance(result, Failed)),
        )
        return _next_look(decision, results, self._repeats, world.clock.now())

    def _read(self, document: Document | None) -> StoredState | None:
        """The state in a document; not read again while that is the one of the look before."""
        if document is None or self._held is None or document.version != self._held.version:
            self._held = repository.stored_state(document)
        return self._held

    def _tell_blindness(self, held: StoredState, why: str, now: datetime) -> None:
        """Nobody could look at a rollout for a while: that is a condition on record, told once,
        until somebody can look again."""
        rollout = held.state.rollout
        is_told = any(condition.type == "ObservationFailed" for condition in held.state.conditions)
        if (
            is_told
            or rollout.last_observed_at is None
            or now - rollout.last_observed_at < OBSERVATION_GAP
        ):
            return
        seen = replace(
            held.state,
            conditions=(*held.state.conditions, Condition("ObservationFailed", why, now)),
        )
        state = replace(seen, revision=seen.revision + 1)
        phase = phase_name(rollout.phase)
        told = repository.record_transitions(
            state,
            (Transition(_under_way(rollout), phase, phase, f"nobody can look: {why}"),),
            now,
            self.event_id,
        )
        with suppress(Conflict):
            self.world.store.commit(repository.write_state(held, state), *told)
            repository.publish_outbox(self.world, told)

    def _carry_out(self, held: StoredState, decision: PassDecision) -> tuple[Result, ...]:
        """Save the decision, then make the plan true."""
        world, now = self.world, self.world.clock.now()
        state = with_lease(held.state, decision, self.token, now)
        if state != held.state:
            told = repository.record_transitions(
                state, decision.turn.transitions, now, self.event_id
            )
            world.store.commit(
                repository.write_state(held, state),
                *told,
                *_outcomes(held.state, decision.turn, now),
            )
            self.revision = state.revision
            repository.publish_outbox(world, told)
        for transition in decision.turn.transitions:
            told_of = {"release": transition.release, "to": transition.to, "why": transition.why}
            _log("transition", state, {**told_of, "event_id": self.event_id})
        if decision.plan.is_empty:
            return ()
        results = apply(
            decision.plan,
            world.compute,
            world.clock,
            lambda action: request_id(state, action),
            self.until,
        )
        for result in results:
            _log_result(state, result)
        return results


def _decide(
    state: State,
    snapshot: Snapshot,
    policy: Policy,
    refusals: tuple[Problem, ...],
    planner: Planner,
    now: datetime,
) -> PassDecision:
    seen = observe(snapshot, state.desired.model)
    sought = clamp(policy, target_of(state.rollout, state.desired, seen))
    unmet = planner.plan(sought, snapshot)
    earlier = (
        refusals if unmet.actions else ()
    )  # what was refused is wanted no more, or has come about by itself
    refusals = (*earlier, *unmet.problems, *_forbidden(policy, state))
    evidence = Evidence(refusals, tuple(action.why for action in unmet.actions))
    answer = advance(state.rollout, state.desired, seen, evidence, now)
    target = clamp(policy, answer.target)
    planned = unmet if target == sought else planner.plan(target, snapshot)
    return settle(state, answer, planned, outputs(snapshot, state.desired.model), now)


class Planner:
    """`plan`, with the last two results at hand: while nothing that was read changes, nor does the
    plan of the same target."""

    def __init__(self) -> None:
        self._known: tuple[tuple[Target, Snapshot, Plan], ...] = ()

    def plan(self, target: Target, snapshot: Snapshot) -> Plan:
        for known, seen, made in self._known:
            if known == target and seen == snapshot:
                return made
        made = plan(target, snapshot) if snapshot.bodies else Plan()
        self._known = ((target, snapshot, made), *self._known[:1])
        return made


def settle(
    state: State, answer: Decision, planned: Plan, found: dict[str, str], now: datetime
) -> PassDecision:
    """The state after one look. A model is due for another look until it is settled and nothing is
    left to change; what has to be changed on a model that was not due is drift, and is told as
    such."""
    if isinstance(answer.rollout.phase, Settled) and not planned.is_empty:
        answer = replace(answer, requeue_at=now)
        if state.requeue_at is None and not answer.transitions:
            why = "; ".join(action.why for action in planned.actions)
            told = Transition(_serving(answer), "settled", "repaired", why)
            answer = replace(
                answer,
                transitions=(told,),
                conditions=(*answer.conditions, Condition("Drifted", why, now)),
            )
    after = replace(
        state,
        desired=answer.desired,
        rollout=answer.rollout,
        conditions=_lasting(state.conditions, answer.conditions),
        outputs=found or ({} if answer.rollout.stable is None else state.outputs),
        requeue_at=_due(state.requeue_at, answer.requeue_at, now),
    )
    return PassDecision(after, planned, answer)


def with_lease(before: State, decision: PassDecision, token: str, now: datetime) -> State:
    """The state to save: claimed while there is work, and with a new revision if anything but the
    claim changes. Also a dead worker's claim counts as a change, since what that worker did may not
    be known from the document."""
    works = not decision.plan.is_empty or not isinstance(decision.state.rollout.phase, Settled)
    mine = lease.acquired(before.lease, token, now) if works else None
    after = replace(decision.state, lease=mine)
    is_new = replace(after, lease=None) != replace(before, lease=None) or lease.has_expired(
        before.lease, now
    )
    return replace(after, revision=before.revision + 1) if is_new else after


def request_id(state: State, action: Action) -> uuid.UUID:
    """The same for a repeat of the same change after a crash, another for the same change after new
    drift."""
    key = action.key
    text = (
        state.desired.model,
        state.revision,
        action.verb,
        key.collection,
        key.scope,
        key.name,
        action.seen,
        action.body,
    )
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(text, sort_keys=True))


def _policy(world: World, documents: Mapping[str, Document], state: State) -> Policy:
    """A policy that cannot be read stops every turn but those on the way back and out: what those
    ask for, none forbids."""
    try:
        return load_project_policy(world.store, documents)
    except ValueError:
        rollout, desired = state.rollout, state.desired
        is_leaving = isinstance(rollout.phase, RollingBack | Retiring) or (
            rollout,
            desired.release,
        ) == (Rollout(), None)
        if is_leaving or any(command.verb in ("abort", "retire") for command in desired.commands):
            return Policy()
        raise


def _forbidden(policy: Policy, state: State) -> tuple[Problem, ...]:
    candidate, stable = state.rollout.candidate, state.rollout.stable
    if candidate is None:
        return ()
    return tuple(
        Problem("policy", "POLICY", why)
        for why in violations(policy, candidate.spec, stable.spec if stable else None)
    )


def _barred(world: World, policy: Policy, decision: PassDecision) -> tuple[Problem, ...]:
    """Why nothing of the candidate may be applied now, whatever was allowed when its release was
    accepted. The next look hears of it as a refusal, and goes back. The way back itself, and what
    serves, is never barred."""
    candidate = decision.state.rollout.candidate
    is_asked = any(
        share.release == candidate
        for group in decision.turn.target.groups
        for share in group.shares
    )
    if decision.plan.is_empty or not is_asked:
        return ()
    crowded = tuple(
        Problem("policy", "POLICY", why)
        for why in admission.candidate_violations(world, policy, decision.state)
    )
    return (*_forbidden(policy, decision.state), *crowded)


def _outcomes(before: State, answer: Decision, now: datetime) -> tuple[Write, ...]:
    rollout = before.rollout
    releases = (rollout.candidate, rollout.stable, before.desired.release)
    known = {release.version: release for release in releases if release}
    return tuple(
        repository.release_outcome(before.desired.model, known[transition.release], transition, now)
        for transition in answer.transitions
        if transition.outcome and transition.release in known
    )


def _next_look(
    decision: PassDecision, results: tuple[Result, ...], repeats: int, now: datetime
) -> datetime | None:
    """At once after a change; later when Compute Engine is busy, or when the very same change has
    been made before, twice as much later with each further time; when `advance` asked for it
    otherwise."""
    back_off = RETRY * 2 ** (repeats - 1) if repeats else timedelta(0)
    pending = [result.retry_after_seconds for result in results if isinstance(result, Pending)]
    if pending:
        return now + max(
            RETRY, back_off, timedelta(seconds=max(seconds or 0 for seconds in pending))
        )
    if any(isinstance(result, Failed) for result in results) and isinstance(
        decision.state.rollout.phase, Settled
    ):
        return now + SETTLED_RETRY
    if results or decision.turn.transitions:
        return now + back_off if results else now
    return decision.turn.requeue_at


def _due(stored: datetime | None, asked_for: datetime | None, now: datetime) -> datetime | None:
    """The stored wake time. One that has passed stays, so that the model is due at every tick
    without being written again; it is moved only when the next look is far off."""
    if asked_for is None:
        return None
    if stored is None or asked_for - now > DUE_FOR_GOOD:
        return asked_for
    return min(stored, asked_for)


def _lasting(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The conditions now, each since it first held."""
    since = {(condition.type, condition.why): condition.since for condition in before}
    return tuple(
        replace(condition, since=since.get((condition.type, condition.why), condition.since))
        for condition in after
    )


def _under_way(rollout: Rollout) -> str:
    release = rollout.candidate or rollout.stable
    return release.version if release else ""


def _serving(answer: Decision) -> str:
    return answer.rollout.stable.version if answer.rollout.stable else ""


def _log_result(state: State, result: Result) -> None:
    action = result.action
    fields = {
        "action": f"{action.verb} {action.key.collection}/{action.key.name}",
        "why": action.why,
    }
    match result:
        case Applied():
            _log("action applied", state, fields)
        case Pending(_, why):
            _log("action pending", state, fields | {"pending": why})
        case Failed(_, problem):
            _log(
                "action refused",
                state,
                fields | {"problem": problem.message, "reason": problem.reason},
            )


def _log(message: str, state: State, fields: Mapping[str, object]) -> None:
    release = state.rollout.candidate or state.rollout.stable
    context = {
        "model": state.desired.model,
        "release": release.version if release else "",
        "phase": phase_name(state.rollout.phase),
    }
    log.info(message, extra={"fields": {**context, **fields}})
