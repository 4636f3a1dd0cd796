"""Writes what passes did to the log. Metrics and alerts count these lines (`deploy/monitoring`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from infra.fleet.model import Applied, Failed, Pending, Result
from infra.wiring import World
from rollout.course import seconds_overdue
from rollout.deferred import dataclass
from rollout.model import Decision, Transition, phase_name
from rollout.state import ModelState, release_in_focus

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Work:
    """The passes that one wake-up caused, and their calls to Compute Engine."""

    model: str
    event_id: str
    started_at: datetime
    passes: int
    calls: int


def reconciled(world: World, work: Work, state: ModelState | None) -> None:
    """`state`: as the last pass loaded it; None if there is no such model."""
    now = world.clock.now()
    fields = _effort(work, now)
    overdue = _overdue(state, now) if state else 0
    if overdue:
        fields["seconds_overdue"] = overdue
    log.info("reconciled", extra={"fields": fields})


def _overdue(state: ModelState, now: datetime) -> int:
    return seconds_overdue(state.course, state.rollout, state.conditions, now)


def failed(world: World, work: Work, error: Exception) -> None:
    fields = _effort(work, world.clock.now()) | {"why": repr(error)}
    log.warning("reconcile failed", extra={"fields": fields})


def _effort(work: Work, now: datetime) -> dict[str, object]:
    return {
        "model": work.model,
        "event_id": work.event_id,
        "passes": work.passes,
        "calls": work.calls,
        "seconds": round((now - work.started_at).total_seconds(), 3),
    }


def decided(
    event_id: str, before: ModelState, after: ModelState, decision: Decision, now: datetime
) -> None:
    for each in decision.transitions:
        transition(event_id, before, after, each, now)
    if after.waiting_for and after.waiting_for != before.waiting_for:
        _log("waiting", after, {"waiting_for": after.waiting_for})


def transition(
    event_id: str, before: ModelState, after: ModelState, made: Transition, now: datetime
) -> None:
    fields: dict[str, object] = {
        "release": made.release,
        "to": made.to,
        "why": made.why,
        "event_id": event_id,
    }
    if made.reason:
        fields["reason"] = made.reason
    if made.outcome:
        fields["outcome"] = made.outcome
    begun_at, candidate = before.rollout.begun_at, before.rollout.candidate
    if made.outcome and begun_at and candidate and candidate.version == made.release:
        fields["rollout_seconds"] = round((now - begun_at).total_seconds())
    _log("transition", after, fields)


def applied(state: ModelState, result: Result) -> None:
    action = result.action
    verb = f"{action.verb} {action.key.collection}/{action.key.name}"
    fields = {"action": verb, "why": action.why}
    match result:
        case Applied():
            _log("action applied", state, fields)
        case Pending(_, why):
            _log("action pending", state, fields | {"pending": why})
        case Failed(_, problem):
            refusal = {"problem": problem.message, "reason": problem.reason}
            _log("action refused", state, fields | refusal)


def _log(message: str, state: ModelState, fields: Mapping[str, object]) -> None:
    release = release_in_focus(state.rollout)
    context: dict[str, object] = {
        "model": state.desired.model,
        "release": release.version if release else "",
        "phase": phase_name(state.rollout.phase),
    }
    if state.seconds_to_roll_back is not None:
        context["seconds_to_roll_back"] = state.seconds_to_roll_back
    log.info(message, extra={"fields": {**context, **fields}})
