"""Writes all pending routes that count into a URL map by one request, and waits for it.

Called by `route_writer.py`, which is the only writer while it does. What Compute Engine refuses is
halved until the route at fault is alone, so that it blocks no other one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from infra.compute.apply import execute, failed_result
from infra.compute.errors import (
    AlreadyExists,
    Busy,
    ComputeError,
    NotFound,
    Refused,
    Retry,
)
from infra.compute.errors import Conflict as FingerprintConflict
from infra.fleet import naming
from infra.fleet.model import Action, Failed, Result
from infra.fleet.naming import Gateway
from infra.fleet.pending_routes import PendingRoute, in_order, merge
from infra.fleet.resources.map_limits import Amount, Meter, fullest
from infra.settings import POLICY, load_stop
from infra.store import repository, routes
from infra.store.documents import UnknownSchema, from_document
from infra.store.port import (
    Delete,
    Document,
)
from infra.store.routes import StoredRoute
from infra.wiring import World
from rollout.deferred import dataclass
from rollout.model import Problem
from rollout.policy.stop import Stop
from rollout.stopped import is_rollback

TRIES = 16  # of one writer; each refusal halves what it writes
MAX_ROUTES = 400  # in one write: a commit has at most 500 writes
MAX_PENDING = 2000  # among which the first ones are found


@dataclass(frozen=True)
class Planned:
    """The write that one model's pass planned, for its route alone."""

    route: PendingRoute
    action: Action
    request_id: uuid.UUID


@dataclass(frozen=True)
class Outcome:
    """What one writer did. `done`: the map has these routes; `refused`: it cannot have these;
    `dropped`: nothing asks for these any more; `skipped`: they do not count now. `operation`: the
    write that still runs; `error`: why nothing was written. `fullest`: what uses most of its limit
    in the map that was written.
    """

    done: tuple[StoredRoute, ...] = ()
    refused: tuple[tuple[StoredRoute, Problem], ...] = ()
    dropped: tuple[Delete, ...] = ()
    skipped: frozenset[str] = frozenset()
    operation: str = ""
    error: ComputeError | None = None
    fullest: Amount | None = None


def write_pending(
    world: World, gateway: str, operation: str, until: datetime, planned: Planned | None
) -> Outcome:
    """Merge what is pending for one gateway into one write, and wait for it. A foreign change of
    the map is merged anew. `operation`: a write that an earlier writer left running.
    """
    if operation and not _has_ended(world, operation, until):
        return Outcome(operation=operation)
    most = MAX_ROUTES
    for _ in range(TRIES):
        stored, found = _load(world, gateway)
        batch = _first(stored, most)
        if not batch:
            return found
        alone = planned if planned and _is_alone(planned, batch) else None
        written = _write_batch(world, gateway, alone, batch, found, until)
        if isinstance(written, Outcome):
            return written
        planned, most = None, min(most, written)
    return Outcome(error=Busy("the URL map was changed by others at every try"))


def _write_batch(
    world: World,
    gateway: str,
    planned: Planned | None,
    batch: tuple[StoredRoute, ...],
    found: Outcome,
    until: datetime,
) -> Outcome | int:
    """What one write came to, or how many routes the next try may have."""
    action, merged, found = _merge(world, gateway, planned, batch, found)
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
    amounts = Meter().amounts(action.body)
    return replace(found, done=merged, fullest=fullest(amounts.values()))


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


def _load(world: World, gateway: str) -> tuple[tuple[StoredRoute, ...], Outcome]:
    """The routes to write, and what is to be done with the other documents."""
    listed, now = world.store.list(routes.COLLECTION, MAX_PENDING), world.clock.now()
    found = [each for each in listed if routes.gateway_of(each) == gateway]
    if not found:
        return (), Outcome()
    documents = sorted(found, key=routes.place)[:MAX_ROUTES]
    names = {each.path: repository.model_path(routes.model_of(each)) for each in documents}
    models = world.store.get_many([*names.values(), POLICY])
    stop = load_stop(models)
    counting, dropped, skipped = [], [], set()
    for each in documents:
        model = models.get(names[each.path])
        stored = routes.stored_route(each)
        if stored and routes.counts(stored, model, now) and _may_go_on(stop, model):
            counting.append(stored)
        elif model is None or routes.is_outdated(each, now):
            dropped.append(Delete(each.path, each.version))
        else:
            skipped.add(each.version)
    return tuple(counting), Outcome(dropped=tuple(dropped), skipped=frozenset(skipped))


def _may_go_on(stop: Stop | None, model: Document | None) -> bool:
    """Whether the policy lets the route of this model be written now."""
    if stop is None or model is None:
        return stop is None
    if stop.rollbacks:
        return False
    try:
        state = from_document(model.data)
    except (UnknownSchema, KeyError, TypeError, ValueError):
        return False
    return is_rollback(state.rollout, state.desired)


def _first(stored: Iterable[StoredRoute], most: int) -> tuple[StoredRoute, ...]:
    by_model = {each.route.model: each for each in stored}
    ordered = in_order(each.route for each in by_model.values())
    return tuple(by_model[route.model] for route in ordered[:most])


def _merge(
    world: World,
    gateway: str,
    planned: Planned | None,
    batch: tuple[StoredRoute, ...],
    found: Outcome,
) -> tuple[Action | None, tuple[StoredRoute, ...], Outcome]:
    """The write of the map for these routes, those that it has then, and what it cannot have. The
    map that a pass has just planned with need not be read again.
    """
    if planned:
        return planned.action, batch, found
    observed = world.compute.get(Gateway(gateway).url_map)
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
