"""Who works on a model: a claim keeps other workers off for a while, so that the same work is not
done twice at once.

Called by `handlers/reconcile/loop.py`. A claim is for efficiency alone and expires by itself when
its worker dies; what keeps two workers from overwriting each other is the compare-and-set of every
save, and what keeps a late one from acting is the end of its turn's time."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from infra.store import repository
from infra.store.documents import Lease
from infra.store.port import Conflict, Unavailable
from infra.wiring import World

DURATION = timedelta(seconds=120)

log = logging.getLogger("slipway")


def is_held_by_other(claim: Lease | None, token: str, now: datetime) -> bool:
    return claim is not None and claim.token != token and claim.expires > now


def has_expired(claim: Lease | None, now: datetime) -> bool:
    return claim is not None and claim.expires <= now


def own(claim: Lease | None, token: str) -> Lease | None:
    """The claim if it is this worker's."""
    return claim if claim and claim.token == token else None


def acquired(claim: Lease | None, token: str, now: datetime) -> Lease:
    """This worker's claim: the one it has while that lasts long enough, else a new one."""
    mine = own(claim, token)
    return mine if mine and mine.expires - now > DURATION / 2 else Lease(token, now + DURATION)


def release(world: World, model: str, token: str, known_revision: int) -> None:
    """Let the next worker in. What was written since `known_revision` came with a wake-up that
    found the model claimed, so another one is sent for it. If the release itself fails, the claim
    expires and the next tick finds the model due."""
    try:
        last = repository.load_state(world, model)
        if last is None or own(last.state.lease, token) is None:
            return
        world.store.commit(repository.write_state(last, replace(last.state, lease=None)))
        if last.state.revision > known_revision:
            repository.wake(world, model)
    except (Conflict, Unavailable) as error:
        log.info("claim left to expire", extra={"fields": {"model": model, "why": str(error)}})
