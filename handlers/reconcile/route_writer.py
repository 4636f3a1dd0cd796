"""Writes a gateway's URL map for all models, one writer at a time, in as few writes as can be.

Compute Engine changes a URL map slowly, one operation after the other, and models share it. So
a pass whose model needs another route records it as pending, and tries to become the writer. The
writer merges what all models have pending, rollbacks and removals first, into one write; whoever
comes meanwhile is in the next one.

    pass of a    record ──> writer: a ──────────────> clear, wake up ──> "routes" if more is pending
    pass of b      record ──> not the writer: ends                         │
    pass of c        record ──> not the writer: ends                       v
    drain                                                                writer: b, c ──> clear

Called by `handlers/reconcile/loop.py` for a model, and by `handlers/wakeup.py` for a wake-up that
asks for what is pending, which each tick publishes while anything is. The writer's lease is for
efficiency and expires by itself; what keeps two writers from overwriting each other is the map's
fingerprint. Nothing depends on a pending route that was written: each model observes the map.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from handlers.reconcile.route_batch import MAX_PENDING, Outcome, Planned, write_pending
from infra.bus.port import BusError
from infra.compute.apply import failed_result
from infra.compute.errors import (
    BACK_OFF_SECONDS,
)
from infra.fleet.model import Action, Applied, Body, Failed, Pending, Result
from infra.fleet.naming import Gateway
from infra.fleet.pending_routes import PendingRoute
from infra.store import gateways, outbox, routes
from infra.store.port import (
    Conflict,
    Create,
    Delete,
    Document,
    Put,
    Replace,
    StoreError,
    Unavailable,
    Write,
)
from infra.store.routes import StoredRoute
from infra.wiring import World
from rollout.deferred import dataclass
from rollout.model import Problem

WRITER = "settings/route_writer"
"""The lease of the writer of the shared gateway; see `writer_path`."""
DRAIN_BUDGET = timedelta(seconds=45)
MARGIN = timedelta(seconds=15)  # for a request that is still sent when the time is over
MAX_LEASE = timedelta(minutes=3)  # a writer's time, and two clocks that differ
RECORD_TRIES = 8

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class WriterLease:
    """The writer's lease as stored. `operation`: a write that an earlier writer left running."""

    gateway: str
    version: str
    operation: str

    @property
    def path(self) -> str:
        return writer_path(self.gateway)


def writer_path(gateway: str) -> str:
    """Each gateway has a writer of its own."""
    return f"{WRITER}@{gateway}" if gateway else WRITER


# ---- For one model


def write_route(
    world: World, route: PendingRoute, action: Action, request_id: uuid.UUID, until: datetime
) -> Result:
    """Write the model's route, or leave it to the next write. `action` is the plan's own write of
    the map, which is sent if no other model has anything pending.
    """
    if world.clock.now() >= until:
        return Pending(action, "not started: no time left in this pass")
    try:
        recorded = _record(world, route, until)
        match recorded:
            case Problem():
                return Failed(action, recorded)
            case float():
                why = "the URL map is being written; this route is in the next write"
                return Pending(action, why, recorded)
        outcome = _write_and_release(world, recorded, until, Planned(route, action, request_id))
    except (StoreError, Unavailable) as error:
        return Pending(action, f"the route could not be recorded: {error}", BACK_OFF_SECONDS)
    return _result(action, route.model, outcome)


def _record(world: World, route: PendingRoute, until: datetime) -> WriterLease | Problem | float:
    """Record the route and become the writer. Otherwise why the map cannot have the route, or in
    how many seconds the writer's lease expires.
    """
    path, writer = routes.path(route.model, route.gateway), writer_path(route.gateway)
    for _ in range(RECORD_TRIES):
        with suppress(Conflict):
            documents, now = world.store.get_many([path, writer]), world.clock.now()
            document = documents.get(path)
            before = routes.stored_route(document)
            if before and before.route.revision > route.revision:
                return BACK_OFF_SECONDS
            if before and before.route.problem and before.route.traffic == route.traffic:
                world.store.commit(Delete(path, before.version))
                return before.route.problem
            is_recorded = _is_recorded(before, route)
            writes = () if is_recorded else (routes.write_route(document, route),)
            if lease := _acquire(world, route.gateway, documents.get(writer), until, *writes):
                return lease
            # The writer lists what is pending when it releases its lease. If it has done so before
            # this was recorded, its lease is gone now.
            if seconds := _seconds_left(world.store.get(writer), now):
                return max(BACK_OFF_SECONDS, seconds)
    return BACK_OFF_SECONDS


def _is_recorded(before: StoredRoute | None, route: PendingRoute) -> bool:
    if before is None or route.requested_at - before.route.requested_at > routes.VALID / 2:
        return False
    return before.route == replace(route, requested_at=before.route.requested_at)


def _result(action: Action, model: str, outcome: Outcome) -> Result:
    if any(each.route.model == model for each in outcome.done):
        return Applied(action)
    for stored, problem in outcome.refused:
        if stored.route.model == model:
            return Failed(action, problem)
    if outcome.operation:
        return Pending(action, "its operation is still running")
    if outcome.error:
        return failed_result(action, outcome.error)
    return Pending(action, "the route is left to the next write of the URL map")


# ---- For all models


def drain(world: World, gateway: str = "") -> None:
    """Write what is pending for a gateway, whoever asked for it. Anybody's message may ask, so
    without any it costs one read.
    """
    if not world.store.list(routes.COLLECTION, 1):
        return
    until = world.clock.now() + DRAIN_BUDGET
    with suppress(Conflict):
        if lease := _acquire(world, gateway, world.store.get(writer_path(gateway)), until):
            _write_and_release(world, lease, until, None)


def request_drain(world: World) -> None:
    """Have what a dead writer left written, or deleted if nothing asks for it any more."""
    found = world.store.list(routes.COLLECTION, MAX_PENDING, fields=("gateway",))
    for gateway in sorted({routes.gateway_of(each) for each in found}):
        world.bus.publish(outbox.WAKEUPS, outbox.routes_wakeup(gateway))


def all_pending(world: World, gateway: str) -> tuple[PendingRoute, ...]:
    """What all models have asked of a gateway, except for what its map cannot have."""
    documents = world.store.list(routes.COLLECTION, MAX_PENDING)
    found = (routes.stored_route(each) for each in documents if routes.gateway_of(each) == gateway)
    return tuple(each.route for each in found if each and not each.route.problem)


# ---- The lease


def _acquire(
    world: World, gateway: str, stored: Document | None, until: datetime, *writes: Write
) -> WriterLease | None:
    """Commit the writes and become the writer; None if another one is."""
    if _seconds_left(stored, world.clock.now()):
        if writes:
            world.store.commit(*writes)
        return None
    operation = str(stored.data.get("operation") or "") if stored else ""
    data = {"expires": until + MARGIN, "operation": operation}
    path = writer_path(gateway)
    write = Replace(path, data, stored.version) if stored else Create(path, data)
    return WriterLease(gateway, world.store.commit(*writes, write)[path], operation)


def _seconds_left(writer: Document | None, now: datetime) -> float:
    """0 also for what no writer has stored, which would keep out every other one."""
    expires = writer.data.get("expires") if writer else None
    left = (expires - now).total_seconds() if isinstance(expires, datetime) else 0.0
    return left if 0 < left <= MAX_LEASE.total_seconds() else 0.0


def _write_and_release(
    world: World, lease: WriterLease, until: datetime, planned: Planned | None
) -> Outcome:
    model = planned.route.model if planned else ""
    try:
        outcome = write_pending(world, lease.gateway, lease.operation, until, planned)
    except (Unavailable, StoreError):
        _release(world, lease, Outcome(), model)
        raise
    _release(world, lease, outcome, model)
    _go_on(world, lease.gateway, outcome, model)
    _record_fullness(world, lease.gateway, outcome)
    _log_outcome(outcome)
    return outcome


def _release(world: World, lease: WriterLease, outcome: Outcome, model: str) -> None:
    """Clear what the map has, record what it cannot have, and let the next writer in. `model` gets
    its answer from this pass.
    """
    end: Write = Delete(lease.path, lease.version)
    if outcome.operation:
        data = {"expires": world.clock.now(), "operation": outcome.operation}
        end = Replace(lease.path, data, lease.version)
    answers = (
        Delete(each.path, each.version)
        if each.route.model == model
        else Replace(
            each.path, routes.to_document(replace(each.route, problem=problem)), each.version
        )
        for each, problem in outcome.refused
    )
    cleared = (Delete(each.path, each.version) for each in outcome.done)
    writes: tuple[Write, ...] = (*cleared, *answers, *outcome.dropped, end)
    with suppress(Conflict):
        world.store.commit(*writes)
        return
    for write in writes:  # what changed meanwhile stays
        with suppress(Conflict):
            world.store.commit(write)


def _go_on(world: World, gateway: str, outcome: Outcome, model: str) -> None:
    """Wake the models whose routes were answered, and the next writer if more is pending. Without
    it, the models come when the lease would have expired, and the writer at the next tick.
    """
    answered = [
        each.route.model for each in (*outcome.done, *(each for each, _ in outcome.refused))
    ]
    try:
        for each in answered:
            if each != model:
                outbox.wake(world, each)
        left = world.store.list(routes.COLLECTION, MAX_PENDING)
        answers = {each.path for each, _ in outcome.refused}
        is_left = any(
            routes.gateway_of(each) == gateway
            and each.version not in outcome.skipped
            and each.path not in answers
            for each in left
        )
        if outcome.operation or (is_left and not outcome.error):
            world.bus.publish(outbox.WAKEUPS, outbox.routes_wakeup(gateway))
    except (BusError, StoreError, Unavailable) as error:
        log.info("wake-ups left to the tick", extra={"fields": {"why": str(error)}})


def _record_fullness(world: World, gateway: str, outcome: Outcome) -> None:
    """For people. What is not recorded now is recorded after the next write."""
    if outcome.fullest is None:
        return
    url_map = Gateway(gateway).url_map.name
    found, path = gateways.fullness_of(url_map, outcome.fullest), gateways.path(url_map)
    with suppress(StoreError, Unavailable):
        before = world.store.get(path)
        if before and gateways.from_document(before).percent == found.percent:
            return
        world.store.commit(Put(path, gateways.to_document(found, world.clock.now())))
    if found.is_nearly_full:
        fields = {"gateway": url_map, "percent": found.percent, "used": found.what}
        log.warning("gateway nearly full", extra={"fields": fields})


def _log_outcome(outcome: Outcome) -> None:
    if not (outcome.done or outcome.refused or outcome.error or outcome.operation):
        return
    names: list[str] = [each.route.model for each in outcome.done]
    fields: Body = {"models": names[:50], "routes": len(names)}
    if outcome.refused:
        fields["refused"] = {
            each.route.model: problem.message for each, problem in outcome.refused[:10]
        }
    if outcome.error or outcome.operation:
        fields["pending"] = str(outcome.error or "its operation is still running")
    log.info("URL map written", extra={"fields": fields})
