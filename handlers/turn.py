"""The loop: observe, advance, save, plan, apply, and look again while something is about to change.

Called by `handlers/wakeup.py` with a model's name. One turn works on one model, for `BUDGET` at most, and may be repeated or cut
off anywhere: a decision is saved before anything acts on it, so that a verdict once reached stands, and every action is
idempotent.

    read ─> observe ─> advance ─> save (fenced, with the claim) ─> apply ─┐
      ^                                                                    │
      └────────────── at once after a change, else at wake_at ────────────┘

Invariant: a turn over a settled model writes nothing anywhere.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from handlers import records
from handlers.records import Held
from infra.apply import apply
from infra.plan import glance, look, plan
from infra.resources.base import Action, Applied, Failed, Pending, Plan, Result, Snapshot, merged
from infra.store import Conflict, Unavailable, Write
from infra.views import observed, outputs
from infra.wiring import World
from rollout.advance import advance, asked
from rollout.encode import Claim, State
from rollout.guard import Policy, capped, load_policy, violations
from rollout.model import Condition, Evidence, Problem, Settled, Target, Transition, Turn, name_of

BUDGET = timedelta(seconds=45)
CLAIM = timedelta(seconds=120)
RETRY = timedelta(seconds=5)
DUE_FOR_GOOD = timedelta(seconds=120)
SETTLED_RETRY = timedelta(seconds=60)

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Decision:
    """What one look decided: the state to save, the plan to apply, what to tell."""

    state: State
    plan: Plan
    turn: Turn


def turn(world: World, model: str, event_id: str = "") -> None:
    token, until = world.new_token(), world.clock.now() + BUDGET
    try:
        _work(world, model, token, event_id, until)
    except Exception as error:
        log.warning("turn broken off", extra={"fields": {"model": model, "event_id": event_id, "why": repr(error)}})
        _release_claim(world, model, token)
        raise
    _release_claim(world, model, token)


def _work(world: World, model: str, token: str, event_id: str, until: datetime) -> None:
    refusals: tuple[Problem, ...] = ()
    tried, seen = Plan(), None
    while True:
        documents = world.store.get_many([records.model_path(model), "settings/policy"])
        held = records.held(documents.get(records.model_path(model)))
        if held is None or _is_others(held.state.claim, token, world.clock.now()):
            return
        policy = load_policy(documents["settings/policy"].data if "settings/policy" in documents else None)
        snapshot = _observe(world, held.state, seen)
        decision = _decide(held.state, snapshot, policy, refusals, world.clock.now())
        is_calm = decision.plan.is_empty and not decision.turn.transitions
        if seen and not is_calm:
            seen = None  # only a glance: look at everything before anything is decided
            continue
        try:
            results = _carry_out(world, held, decision, token, event_id, until)
        except Conflict:
            seen = None
            continue
        refusals = tuple(result.problem for result in results if isinstance(result, Failed))
        next_look = _next_look(decision, results, decision.plan == tried, world.clock.now())
        tried, seen = decision.plan, snapshot if is_calm else None
        if next_look is None or next_look > until:
            return
        world.clock.sleep(max(0.0, (next_look - world.clock.now()).total_seconds()))


def _observe(world: World, state: State, seen: Snapshot | None) -> Snapshot:
    """All that any target of the releases in play could need, and until the model has settled also what may be left over. After
    a calm look (`seen`) a glance is enough: only the groups and their instances' health can change while one waits for them."""
    rollout, model = state.rollout, state.desired.model
    releases = tuple(release for release in (rollout.stable, rollout.candidate, state.desired.release) if release)
    if not releases:
        return Snapshot({})
    if seen:
        return merged(seen, world.compute.observe(glance(model, releases)))
    return world.compute.observe(look(model, releases, sweep=state.wake_at is not None))


def _decide(state: State, snapshot: Snapshot, policy: Policy, refusals: tuple[Problem, ...], now: datetime) -> Decision:
    seen = observed(snapshot, state.desired.model)
    unmet = _plan(capped(policy, asked(state.rollout, state.desired, seen)), snapshot)
    refusals = (*refusals, *unmet.problems, *_forbidden(policy, state))
    evidence = Evidence(refusals, tuple(action.why for action in unmet.actions))
    answer = advance(state.rollout, state.desired, seen, evidence, now)
    return settle(state, answer, _plan(capped(policy, answer.target), snapshot), outputs(snapshot, state.desired.model), now)


def _plan(target: Target, snapshot: Snapshot) -> Plan:
    return plan(target, snapshot) if snapshot.bodies else Plan()


def settle(state: State, answer: Turn, planned: Plan, found: dict[str, str], now: datetime) -> Decision:
    """The state after one look. A model is due for another look until it is settled and nothing is left to change; what has to be
    changed on a model that was not due is drift, and is told as such."""
    if isinstance(answer.rollout.phase, Settled) and not planned.is_empty:
        answer = replace(answer, wake_at=now)
        if state.wake_at is None and not answer.transitions:
            why = "; ".join(action.why for action in planned.actions)
            told = Transition(_serving(answer), "settled", "repaired", why)
            answer = replace(answer, transitions=(told,), conditions=(*answer.conditions, Condition("Drifted", why, now)))
    after = replace(
        state,
        desired=answer.desired,
        rollout=answer.rollout,
        conditions=_lasting(state.conditions, answer.conditions),
        outputs=found or ({} if answer.rollout.stable is None else state.outputs),
        wake_at=_due(state.wake_at, answer.wake_at, now),
    )
    return Decision(after, planned, answer)


def _carry_out(world: World, held: Held, decision: Decision, token: str, event_id: str, until: datetime) -> tuple[Result, ...]:
    """Save the decision, then make the plan true. `Conflict`: somebody wrote in between, and this look is worth nothing."""
    now, state = world.clock.now(), decision.state
    works = not decision.plan.is_empty or not isinstance(state.rollout.phase, Settled)
    state = replace(state, claim=_claimed(state.claim, token, now) if works else _own(state.claim, token))
    if replace(state, claim=None) != replace(held.state, claim=None) or _expired(held.state.claim, now):
        state = replace(state, revision=state.revision + 1)
    if state != held.state:
        told = records.told(state, decision.turn.transitions, now, event_id)
        world.store.commit(records.write_state(held, state), *told, *_outcomes(held.state, decision.turn, now))
        records.publish_outbox(world, told)
    for transition in decision.turn.transitions:
        _log("transition", state, {"to": transition.to, "why": transition.why, "event_id": event_id})
    if decision.plan.is_empty:
        return ()
    results = apply(decision.plan, world.compute, world.clock, lambda action: request_id(state, action), until)
    for result in results:
        _log_result(state, result)
    return results


def request_id(state: State, action: Action) -> uuid.UUID:
    """The same for a repeat of the same change after a crash, another for the same change after new drift."""
    key = action.key
    text = (state.desired.model, state.revision, action.verb, key.collection, key.scope, key.name, action.seen, action.body)
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(text, sort_keys=True))


def _forbidden(policy: Policy, state: State) -> tuple[Problem, ...]:
    candidate = state.rollout.candidate
    return tuple(Problem("policy", "POLICY", why) for why in violations(policy, candidate.spec)) if candidate else ()


def _outcomes(before: State, answer: Turn, now: datetime) -> tuple[Write, ...]:
    rollout = before.rollout
    releases = (rollout.candidate, rollout.stable, before.desired.release)
    known = {release.version: release for release in releases if release}
    return tuple(
        records.ended(before.desired.model, known[transition.release], transition, now)
        for transition in answer.transitions
        if transition.outcome and transition.release in known
    )


def _next_look(decision: Decision, results: tuple[Result, ...], is_repeat: bool, now: datetime) -> datetime | None:
    """At once after a change; a moment later when Compute Engine is busy, or when the very same change was made just before; when
    `advance` asked for it otherwise."""
    pending = [result.retry_after_seconds for result in results if isinstance(result, Pending)]
    if pending:
        return now + max(RETRY, timedelta(seconds=max(seconds or 0 for seconds in pending)))
    if any(isinstance(result, Failed) for result in results) and isinstance(decision.state.rollout.phase, Settled):
        return now + SETTLED_RETRY
    if results or decision.turn.transitions:
        return now + RETRY if results and is_repeat else now
    return decision.turn.wake_at


def _due(stored: datetime | None, asked_for: datetime | None, now: datetime) -> datetime | None:
    """The stored wake time. One that has passed stays, so that the model is due at every tick without being written again; it is
    moved only when the next look is far off."""
    if asked_for is None:
        return None
    if stored is None or asked_for - now > DUE_FOR_GOOD:
        return asked_for
    return min(stored, asked_for)


def _lasting(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The conditions now, each since it first held."""
    since = {(condition.type, condition.why): condition.since for condition in before}
    return tuple(replace(condition, since=since.get((condition.type, condition.why), condition.since)) for condition in after)


def _serving(answer: Turn) -> str:
    return answer.rollout.stable.version if answer.rollout.stable else ""


def _is_others(claim: Claim | None, token: str, now: datetime) -> bool:
    return claim is not None and claim.token != token and claim.expires > now


def _expired(claim: Claim | None, now: datetime) -> bool:
    return claim is not None and claim.expires <= now


def _own(claim: Claim | None, token: str) -> Claim | None:
    return claim if claim and claim.token == token else None


def _claimed(claim: Claim | None, token: str, now: datetime) -> Claim:
    mine = _own(claim, token)
    return mine if mine and mine.expires - now > CLAIM / 2 else Claim(token, now + CLAIM)


def _release_claim(world: World, model: str, token: str) -> None:
    """Let the next worker in. If somebody wrote meanwhile the claim goes with the next look at the model, or by expiry."""
    try:
        last = records.read(world, model)
        if last and _own(last.state.claim, token):
            world.store.commit(records.write_state(last, replace(last.state, claim=None)))
    except (Conflict, Unavailable) as error:
        log.info("claim left to expire", extra={"fields": {"model": model, "why": str(error)}})


def _log_result(state: State, result: Result) -> None:
    action = result.action
    fields = {"action": f"{action.verb} {action.key.collection}/{action.key.name}", "why": action.why}
    match result:
        case Applied():
            _log("action applied", state, fields)
        case Pending(_, why):
            _log("action pending", state, fields | {"pending": why})
        case Failed(_, problem):
            _log("action refused", state, fields | {"problem": problem.message, "reason": problem.reason})


def _log(message: str, state: State, fields: dict[str, object]) -> None:
    release = state.rollout.candidate or state.rollout.stable
    context = {"model": state.desired.model, "release": release.version if release else "", "phase": name_of(state.rollout.phase)}
    log.info(message, extra={"fields": context | fields})
