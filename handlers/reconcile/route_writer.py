"""Writes the shared URL map for all models, one writer at a time, in as few writes as can be.

Compute Engine changes a URL map slowly, one operation after the other, and all models share one
map. So a pass whose model needs another route records it as pending, and tries to become the
writer. The writer merges what all models have pending, rollbacks and removals first, into one
write; whoever comes meanwhile is in the next one.

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

import json
import logging
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infra.bus.port import BusError
from infra.compute.apply import execute, failed_result
from infra.compute.errors import (
    BACK_OFF_SECONDS,
    AlreadyExists,
    Busy,
    ComputeError,
    NotFound,
    Refused,
    Retry,
)
from infra.compute.errors import Conflict as FingerprintConflict
from infra.fleet import naming
from infra.fleet.model import Action, Applied, Body, Failed, Pending, Result
from infra.fleet.pending_routes import PendingRoute, in_order, merge
from infra.store import outbox, repository, routes
from infra.store.port import (
    Conflict,
    Create,
    Delete,
    Document,
    Replace,
    StoreError,
    Unavailable,
    Write,
)
from infra.store.routes import StoredRoute
from infra.wiring import World
from rollout.model import Problem

WRITER = "settings/route_writer"
DRAIN_BUDGET = timedelta(seconds=45)
MARGIN = timedelta(seconds=15)  # for a request that is still sent when the time is over
MAX_LEASE = timedelta(minutes=3)  # a writer's time, and two clocks that differ
TRIES = 16  # of one writer; each refusal halves what it writes
RECORD_TRIES = 8
MAX_ROUTES = 400  # in one write: a commit has at most 500 writes
MAX_PENDING = 2000  # among which the first ones are found

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Held:
    """The writer's lease as stored. `operation`: a write that an earlier writer left running."""

    version: str
    operation: str


@dataclass(frozen=True)
class Outcome:
    """What one writer did. `done`: the map has these routes; `refused`: it cannot have these;
    `dropped`: nothing asks for these any more; `skipped`: they do not count now. `operation`: the
    write that still runs, with its `batch`; `error`: why nothing was written.
    """

    done: tuple[StoredRoute, ...] = ()
    refused: tuple[tuple[StoredRoute, Problem], ...] = ()
    dropped: tuple[Delete, ...] = ()
    skipped: frozenset[str] = frozenset()
    operation: str = ""
    error: ComputeError | None = None


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
        held = _record(world, route, until)
        match held:
            case Problem():
                return Failed(action, held)
            case float():
                why = "the URL map is being written; this route is in the next write"
                return Pending(action, why, held)
        outcome = _write_and_release(world, held, until, Planned(route, action, request_id))
    except (StoreError, Unavailable) as error:
        return Pending(action, f"the route could not be recorded: {error}", BACK_OFF_SECONDS)
    return _result(action, route.model, outcome)


@dataclass(frozen=True)
class Planned:
    """The write that one model's pass planned, for its route alone."""

    route: PendingRoute
    action: Action
    request_id: uuid.UUID


def _record(world: World, route: PendingRoute, until: datetime) -> Held | Problem | float:
    """Record the route and become the writer. Otherwise why the map cannot have the route, or in
    how many seconds the writer's lease expires.
    """
    path = routes.path(route.model)
    for _ in range(RECORD_TRIES):
        with suppress(Conflict):
            documents, now = world.store.get_many([path, WRITER]), world.clock.now()
            document = documents.get(path)
            before = routes.stored_route(document)
            if before and before.route.revision > route.revision:
                return BACK_OFF_SECONDS
            if before and before.route.problem and before.route.traffic == route.traffic:
                world.store.commit(Delete(path, before.version))
                return before.route.problem
            is_recorded = _is_recorded(before, route)
            writes = () if is_recorded else (routes.write_route(document, route),)
            if held := _acquire(world, documents.get(WRITER), until, *writes):
                return held
            # The writer lists what is pending when it releases its lease. If it has done so before
            # this was recorded, its lease is gone now.
            if seconds := _seconds_left(world.store.get(WRITER), now):
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


def drain(world: World) -> None:
    """Write what is pending, whoever asked for it. Anybody's message may ask, so without any it
    costs one read.
    """
    if not world.store.list(routes.COLLECTION, 1):
        return
    until = world.clock.now() + DRAIN_BUDGET
    with suppress(Conflict):
        if held := _acquire(world, world.store.get(WRITER), until):
            _write_and_release(world, held, until, None)


def request_drain(world: World) -> None:
    """Have what a dead writer left written, or deleted if nothing asks for it any more."""
    if world.store.list(routes.COLLECTION, 1):
        world.bus.publish(outbox.WAKEUPS, outbox.routes_wakeup())


# ---- The lease


def _acquire(world: World, stored: Document | None, until: datetime, *writes: Write) -> Held | None:
    """Commit the writes and become the writer; None if another one is."""
    if _seconds_left(stored, world.clock.now()):
        if writes:
            world.store.commit(*writes)
        return None
    operation = str(stored.data.get("operation") or "") if stored else ""
    data = {"expires": until + MARGIN, "operation": operation}
    lease = Replace(WRITER, data, stored.version) if stored else Create(WRITER, data)
    return Held(world.store.commit(*writes, lease)[WRITER], operation)


def _seconds_left(writer: Document | None, now: datetime) -> float:
    """0 also for what no writer has stored, which would keep out every other one."""
    expires = writer.data.get("expires") if writer else None
    left = (expires - now).total_seconds() if isinstance(expires, datetime) else 0.0
    return left if 0 < left <= MAX_LEASE.total_seconds() else 0.0


def _write_and_release(
    world: World, held: Held, until: datetime, planned: Planned | None
) -> Outcome:
    model = planned.route.model if planned else ""
    try:
        outcome = _write(world, held, until, planned)
    except (Unavailable, StoreError):
        _release(world, held, Outcome(), model)
        raise
    _release(world, held, outcome, model)
    _go_on(world, outcome, model)
    _log_outcome(outcome)
    return outcome


def _release(world: World, held: Held, outcome: Outcome, model: str) -> None:
    """Clear what the map has, record what it cannot have, and let the next writer in. `model` gets
    its answer from this pass.
    """
    lease: Write = Delete(WRITER, held.version)
    if outcome.operation:
        data = {"expires": world.clock.now(), "operation": outcome.operation}
        lease = Replace(WRITER, data, held.version)
    answers = (
        Delete(each.path, each.version)
        if each.route.model == model
        else Replace(
            each.path, routes.to_document(replace(each.route, problem=problem)), each.version
        )
        for each, problem in outcome.refused
    )
    cleared = (Delete(each.path, each.version) for each in outcome.done)
    writes: tuple[Write, ...] = (*cleared, *answers, *outcome.dropped, lease)
    with suppress(Conflict):
        world.store.commit(*writes)
        return
    for write in writes:  # what changed meanwhile stays
        with suppress(Conflict):
            world.store.commit(write)


def _go_on(world: World, outcome: Outcome, model: str) -> None:
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
            each.version not in outcome.skipped and each.path not in answers for each in left
        )
        if outcome.operation or (is_left and not outcome.error):
            world.bus.publish(outbox.WAKEUPS, outbox.routes_wakeup())
    except (BusError, StoreError, Unavailable) as error:
        log.info("wake-ups left to the tick", extra={"fields": {"why": str(error)}})


# ---- One write


def _write(world: World, held: Held, until: datetime, planned: Planned | None) -> Outcome:
    """Merge what is pending into one write, and wait for it. A foreign change of the map is merged
    anew. What Compute Engine refuses is halved until the route at fault is alone.
    """
    if held.operation and not _has_ended(world, held.operation, until):
        return Outcome(operation=held.operation)
    most = MAX_ROUTES
    for _ in range(TRIES):
        stored, found = _load(world)
        batch = _first(stored, most)
        if not batch:
            return found
        alone = planned if planned and _is_alone(planned, batch) else None
        written = _write_batch(world, alone, batch, found, until)
        if isinstance(written, Outcome):
            return written
        planned, most = None, min(most, written)
    return Outcome(error=Busy("the URL map was changed by others at every try"))


def _write_batch(
    world: World,
    planned: Planned | None,
    batch: tuple[StoredRoute, ...],
    found: Outcome,
    until: datetime,
) -> Outcome | int:
    """What one write came to, or how many routes the next try may have."""
    action, merged, found = _merge(world, planned, batch, found)
    if action is None:
        return replace(found, done=merged)
    if world.clock.now() >= until:
        return replace(found, error=Busy("no time is left for a write"))
    request_id = planned.request_id if planned else _request_id(action, merged)
    try:
        running = execute(action, world.compute, world.clock, request_id, until)
    except FingerprintConflict:
        return MAX_ROUTES
    except (Refused, NotFound) as error:
        if len(merged) > 1:
            return len(merged) // 2
        return _refuse(found, merged[0], failed_result(action, error))
    except (Retry, Busy, AlreadyExists) as error:
        return replace(found, error=error)
    if running:
        return replace(found, operation=str(running["name"]))
    return replace(found, done=merged)


def _is_alone(planned: Planned, batch: tuple[StoredRoute, ...]) -> bool:
    route = planned.route
    pending = [(each.route.model, each.route.traffic) for each in batch]
    return pending == [(route.model, route.traffic)]


def _has_ended(world: World, operation: str, until: datetime) -> bool:
    """Whether the write that an earlier writer left running has ended, however it did."""
    try:
        return world.compute.wait({"name": operation}, until) is not None
    except (Retry, Refused):
        return True  # it is kept no longer


def _load(world: World) -> tuple[tuple[StoredRoute, ...], Outcome]:
    """The routes to write, and what is to be done with the other documents."""
    found, now = world.store.list(routes.COLLECTION, MAX_PENDING), world.clock.now()
    if not found:
        return (), Outcome()
    documents = sorted(found, key=routes.place)[:MAX_ROUTES]
    names = {each.path: repository.model_path(routes.model_of(each)) for each in documents}
    models = world.store.get_many(names.values())
    counting, dropped, skipped = [], [], set()
    for each in documents:
        model = models.get(names[each.path])
        stored = routes.stored_route(each)
        if stored and routes.counts(stored, model, now):
            counting.append(stored)
        elif model is None or routes.is_outdated(each, now):
            dropped.append(Delete(each.path, each.version))
        else:
            skipped.add(each.version)
    return tuple(counting), Outcome(dropped=tuple(dropped), skipped=frozenset(skipped))


def _first(stored: Iterable[StoredRoute], most: int) -> tuple[StoredRoute, ...]:
    by_model = {each.route.model: each for each in stored}
    ordered = in_order(each.route for each in by_model.values())
    return tuple(by_model[route.model] for route in ordered[:most])


def _merge(
    world: World, planned: Planned | None, batch: tuple[StoredRoute, ...], found: Outcome
) -> tuple[Action | None, tuple[StoredRoute, ...], Outcome]:
    """The write of the map for these routes, those that it has then, and what it cannot have. The
    map that a pass has just planned with need not be read again.
    """
    if planned:
        return planned.action, batch, found
    observed = world.compute.get(naming.GATEWAY)
    if observed is None or not naming.is_gateway(observed):
        return None, (), replace(found, skipped=found.skipped | {each.version for each in batch})
    by_model = {each.route.model: each for each in batch}
    merged = merge(observed, (each.route for each in batch))
    refused = tuple((by_model[route.model], problem) for route, problem in merged.left_out)
    routes_in_map = tuple(by_model[route.model] for route in merged.routes)
    return merged.action, routes_in_map, replace(found, refused=refused)


def _refuse(found: Outcome, stored: StoredRoute, result: Result) -> Outcome:
    """What became of a route that Compute Engine refuses by itself. Its model plans anew if what is
    missing is its own.
    """
    if isinstance(result, Failed):
        return replace(found, refused=(*found.refused, (stored, result.problem)))
    gone = Delete(stored.path, stored.version)
    return replace(found, dropped=(*found.dropped, gone))


def _request_id(action: Action, merged: Iterable[StoredRoute]) -> uuid.UUID:
    """The same for a repeat of the same write after a crash."""
    revisions = [(each.route.model, each.route.revision) for each in merged]
    parts = (revisions, action.based_on, action.body)
    return uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts, sort_keys=True))


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
