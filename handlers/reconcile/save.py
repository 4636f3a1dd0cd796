"""Saves a decision before anything acts on it: state, log and outcomes in one fenced commit.

Called by `handlers/reconcile/loop.py`. Raises `Conflict` if the document changed since it was read;
then the decision is discarded and the pass starts again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from handlers.reconcile import lease, log_lines
from handlers.reconcile.decide import PassDecision
from infra.store import outbox, repository
from infra.store.port import Conflict
from infra.store.repository import StoredState
from infra.wiring import World
from rollout.conditions import observation_failed
from rollout.counts import Counts
from rollout.deferred import dataclass
from rollout.model import Release, Settled, Transition, phase_name
from rollout.state import ModelState, next_revision, release_in_focus


@dataclass(frozen=True)
class Run:
    """One call of the loop: its lease token, the event that started it, and when it must end.
    `number` is that of the wake-up, if it was published for a wait of the model.
    """

    model: str
    event_id: str
    token: str
    until: datetime
    number: int | None = None


def save(world: World, run: Run, stored: StoredState, decision: PassDecision) -> ModelState:
    """The state as saved. Nothing is written if nothing changed."""
    now = world.clock.now()
    state = with_lease(stored.state, decision, run.token, now)
    if state == stored.state:
        return state
    if decision.counts:
        state = replace(state, counts=decision.counts)
    rollout = stored.state.rollout
    releases = (stored.state.desired.release, rollout.stable, rollout.candidate)
    transitions = decision.decision.transitions
    _commit(world, run, stored, state, transitions, releases, now, decision.counts)
    return state


def with_lease(before: ModelState, decision: PassDecision, token: str, now: datetime) -> ModelState:
    """The state to save, leased while there is work to do or to watch: the release of the lease is
    what moves `requeue_at`.
    """
    rollout = decision.state.rollout
    is_waiting = bool(rollout.watched_since or rollout.kept)
    is_settled = isinstance(rollout.phase, Settled) and not is_waiting
    is_working = not decision.plan.is_empty or not is_settled
    own = lease.acquire(before.lease, token, now) if is_working else None
    after = replace(decision.state, lease=own)
    is_takeover = lease.has_expired(before.lease, now)
    return replace(after, revision=next_revision(before, after, is_takeover=is_takeover))


def save_observation_failure(world: World, run: Run, stored: StoredState, why: str) -> int:
    """Records `ObservationFailed` once a rollout has not been observed for three minutes. Returns
    the revision that this pass has seen or made.
    """
    now, before = world.clock.now(), stored.state
    condition = observation_failed(before.rollout, before.conditions, why, now)
    if condition is None:
        return before.revision
    state = replace(
        before, conditions=(*before.conditions, condition), revision=before.revision + 1
    )
    release, phase = release_in_focus(before.rollout), phase_name(before.rollout.phase)
    version = release.version if release else ""
    failed = Transition(version, phase, "unobserved", f"cannot observe the rollout: {why}")
    with suppress(Conflict):
        _commit(world, run, stored, state, (failed,), (), now)
        log_lines.transition(run.event_id, before, state, failed, now)
        return state.revision
    return before.revision


def save_stopped(world: World, run: Run, stored: StoredState, state: ModelState) -> ModelState:
    """Save a model that is stopped and was not observed, leased until `requeue_at` moves."""
    now, before = world.clock.now(), stored.state
    leased = replace(state, lease=lease.acquire(before.lease, run.token, now))
    is_takeover = lease.has_expired(before.lease, now)
    leased = replace(leased, revision=next_revision(before, leased, is_takeover=is_takeover))
    _commit(world, run, stored, leased, (), (), now)
    return leased


def _commit(
    world: World,
    run: Run,
    stored: StoredState,
    state: ModelState,
    transitions: tuple[Transition, ...],
    releases: Iterable[Release | None],
    now: datetime,
    counts: Counts | None = None,
) -> None:
    course = stored.state.course
    outcomes = repository.record_outcomes(
        world.store, run.model, releases, transitions, now, course
    )
    log = repository.record_transitions(state, transitions, now, run.event_id, counts)
    reports = repository.report_conditions(stored.state, state, now)
    reopened = repository.reopen_restored(world.store, stored.state, state)
    records = {write.path: write for write in (*reopened, *outcomes)}
    writes = (repository.write_state(stored, state), *log, *reports, *records.values())
    world.store.commit(*writes)
    outbox.publish_committed(world, (*log, *reports))
