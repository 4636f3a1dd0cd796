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

from infra.store import outbox, repository
from infra.store.port import Conflict, Unavailable
from infra.wiring import World
from rollout.state import Lease

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


def release(world: World, model: str, token: str, known_revision: int | None) -> None:
    """Let the next worker in.

    What was written since `known_revision` came with a wake-up that found the model leased, so
    another wake-up is published for it; None if the worker's own message will be redelivered. If
    the release itself fails, the lease expires and the next tick finds the model due.
    """
    try:
        stored = repository.load_state(world.store, model)
        if stored is None or stored.state.lease is None or stored.state.lease.token != token:
            return
        unleased = replace(stored.state, lease=None)
        world.store.commit(repository.write_state(stored, unleased))
        if known_revision is not None and stored.state.revision > known_revision:
            outbox.wake(world, model)
    except (Conflict, Unavailable) as error:
        fields = {"model": model, "why": str(error)}
        log.info("lease left to expire", extra={"fields": fields})
