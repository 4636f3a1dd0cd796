"""The lease: one worker at a time reconciles a model, so that the same work is not done twice at
once.

Called by `handlers/reconcile/`. A lease is for efficiency and expires by itself when its worker
dies. What keeps two workers from overwriting each other is the compare-and-set of every save, and
what keeps a late one from acting is the deadline of its loop.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from infra.bus.port import BusError
from infra.store import outbox, repository
from infra.store.port import Conflict, StoreError, Unavailable
from infra.wiring import World
from rollout import requeue
from rollout.deferred import dataclass
from rollout.state import Lease, ModelState, Verified

DURATION = timedelta(seconds=120)

log = logging.getLogger("slipway")


def is_held_by_other(lease: Lease | None, token: str, now: datetime) -> bool:
    return lease is not None and lease.token != token and lease.expires > now


def has_expired(lease: Lease | None, now: datetime) -> bool:
    return lease is not None and lease.expires <= now


def acquire(lease: Lease | None, token: str, now: datetime) -> Lease:
    """This worker's lease: the present one while at least half of it is left, else a new one."""
    is_own = lease is not None and lease.token == token
    if lease and is_own and lease.expires - now > DURATION / 2:
        return lease
    return Lease(token, now + DURATION)


@dataclass(frozen=True)
class Wait:
    """What the worker leaves to the next pass. `revision` is the last one that it knows, and
    `observed_at` when it last observed the rollout. `waiting_for`: what stopped its last plan.
    `is_leased`: whether it acquired the lease; a pass that only read health does not.
    """

    revision: int
    requeue_at: datetime | None
    observed_at: datetime | None
    verified: Verified | None
    waiting_for: str = ""
    is_leased: bool = True


def release(world: World, model: str, token: str, wait: Wait | None) -> None:
    """Let the next worker in, and have it woken in time.

    What was written since `wait.revision` came with a wake-up that found the model leased, so
    another wake-up is published for it. Without a `wait` the worker failed, and what is due stays
    due. If the release itself fails, the lease expires and a later tick finds the model due.
    """

    def attempt() -> None:
        stored = repository.load_state(world.store, model)
        if stored is None or not _is_ours(stored.state.lease, token, wait):
            return
        after = replace(stored.state, lease=None)
        is_known = wait is not None and stored.state.revision <= wait.revision
        if wait and is_known:
            after = _waiting(after, wait)
        world.store.commit(repository.write_state(stored, after))
        if wait and not is_known:
            outbox.wake(world, model)
        elif wait and after.requeue_at:
            schedule(world, model, after.wakeups, after.requeue_at)

    try:  # an event may be saved in between
        repository.retry_on_conflict(world, attempt)
    except (BusError, StoreError, Unavailable) as error:
        fields = {"model": model, "why": str(error)}
        log.info("lease left to expire", extra={"fields": fields})


def _is_ours(lease: Lease | None, token: str, wait: Wait | None) -> bool:
    if wait and not wait.is_leased:
        return lease is None
    return lease is not None and lease.token == token


def postpone(
    world: World,
    model: str,
    token: str,
    retry_after_seconds: float,
    revision: int,
    *,
    is_spread: bool = False,
) -> bool:
    """Come later, because nothing could be read; at once if something was written since `revision`,
    whose wake-up found the model leased. False if that could not be recorded. `is_spread`: the time
    is for this pass alone.
    """
    now, jitter = world.clock.now(), world.jitter()
    try:
        stored = repository.load_state(world.store, model)
        if stored is None or is_held_by_other(stored.state.lease, token, now):
            return True
        state = stored.state
        if state.revision > revision:
            return _come_at_once(world, model, token)
        at = requeue.after_failure(
            state.rollout, retry_after_seconds, jitter, now, is_spread=is_spread
        )
        if state.requeue_at is not None or state.lease is not None:
            due = at if state.requeue_at is not None else None
            state = replace(state, lease=None, requeue_at=due, wakeups=state.wakeups + 1)
            try:
                world.store.commit(repository.write_state(stored, state))
            except Conflict:
                return _come_at_once(world, model, token)
        schedule(world, model, state.wakeups, at)
    except (BusError, StoreError, Unavailable) as error:
        fields = {"model": model, "why": str(error)}
        log.info("the next try is left to a redelivery", extra={"fields": fields})
        return False
    return True


def _come_at_once(world: World, model: str, token: str) -> bool:
    release(world, model, token, None)
    outbox.wake(world, model)
    return True


def schedule(world: World, model: str, number: int, at: datetime) -> None:
    """Have the model woken at that time, or by the tick after it."""
    try:
        world.scheduler.schedule(model, number, at)
    except Unavailable as error:
        fields = {"model": model, "why": str(error)}
        log.warning("wake-up left to the tick", extra={"fields": fields})


def _waiting(state: ModelState, wait: Wait) -> ModelState:
    """The state while nobody reconciles it."""
    is_due = state.requeue_at is not None and wait.requeue_at is not None
    rollout = state.rollout
    if wait.observed_at and rollout.last_observed_at:
        rollout = replace(rollout, last_observed_at=wait.observed_at)
    return replace(
        state,
        rollout=rollout,
        requeue_at=wait.requeue_at if is_due else state.requeue_at,
        verified=wait.verified,
        waiting_for=wait.waiting_for or state.waiting_for,
        wakeups=state.wakeups + 1,
    )
