"""Saves what an accepted release or command changes: the model's state, its log, the releases that
ended and the status events, in one fenced commit.

Called by `handlers/release.py` and `handlers/command.py`. Raises `Conflict` if the document changed
since it was read; then the message is judged again. Raises `Refuse` for what could not be stored in
a later phase.
"""

from __future__ import annotations

from dataclasses import replace

from handlers.quarantine import Refuse
from infra.bus.envelope import Payload
from infra.store import capacity, outbox, repository
from infra.store.port import Write
from infra.store.repository import StoredState
from infra.wiring import World
from rollout.model import Release
from rollout.transitions import PhaseChange


def save_change(
    world: World,
    stored: StoredState,
    change: PhaseChange,
    payload: Payload,
    *writes: Write,
    release: Release | None = None,
) -> None:
    """`release` is the one that was just accepted. Of two writes to one path the last one is
    made.
    """
    now, before = world.clock.now(), stored.state
    state = replace(
        repository.with_event(before, payload.key),
        desired=change.desired,
        rollout=change.rollout,
        requeue_at=now if is_due(stored, change) else before.requeue_at,
        revision=before.revision + 1,
    )
    if problem := capacity.problem_of(state):
        raise Refuse(problem)
    releases = (before.rollout.stable, before.rollout.candidate, before.desired.release, release)
    outcomes = repository.record_outcomes(
        world.store, state.desired.model, releases, change.transitions, now, before.course
    )
    log = repository.record_transitions(state, change.transitions, now, payload.key)
    reopened = repository.reopen_restored(world.store, before, state)
    by_path = {write.path: write for write in (*writes, *reopened, *outcomes)}
    world.store.commit(repository.write_state(stored, state), *by_path.values(), *log)
    outbox.publish_committed(world, log)


def is_due(stored: StoredState, change: PhaseChange) -> bool:
    """Whether a pass has something to do because of the change."""
    before = stored.state
    return (before.rollout, before.desired.release) != (change.rollout, change.desired.release)
