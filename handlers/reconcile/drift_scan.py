"""Finds the settled models whose resources differ from their target, many models at once, by list
calls.

Called by `handlers/wakeup.py` at every tick: every few minutes a scan begins, and one of many
models goes on at the next ticks from a cursor in the store. It changes nothing and decides nothing:
a model whose plan is not empty gets a wake-up, and its pass observes it anew. It also finds what
should not exist, for example when Compute Engine carries out a dead worker's insert after the model
was retired. Invariants: a model that is not settled is left to its own `requeue_at`; while a model
is on hold because the store was restored, no other model is repaired, since its document may be
as old. So drift is repaired only after all models were compared.

The gateway's shared parts are read once, and count for one exposed model of each certificate. That
model's pass repairs them for all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from handlers.reconcile.overdue import restore_overdue
from infra.compute.inventory import list_inventory
from infra.fleet import naming
from infra.fleet.inventory import GLOBAL, REGIONAL, owned_by_model
from infra.fleet.marks import newest_revision
from infra.fleet.model import Action, Body, Key, ReadSet, Snapshot
from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads, scope_of
from infra.fleet.resources import gateway, url_map
from infra.settings import POLICY, load_project_policy, read_stop
from infra.store import outbox
from infra.store.documents import UnknownSchema, from_document
from infra.store.port import Delete, Document, Put
from infra.wiring import World
from rollout.model import Observed, Settled, Target
from rollout.policy.caps import clamp
from rollout.policy.policy import Policy
from rollout.restored import is_newer
from rollout.state import ModelState
from rollout.targets import target_of

EVERY_MINUTES = 5
PAGE = 200
MODELS_PER_TICK = 1000
MAX_WAKEUPS = 200  # per tick
MAX_DRIFTED = 2000  # per scan
CURSOR = "settings/drift_scan"

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Progress:
    """How far a scan is: the models up to `after` were compared, and `drifted` are to be woken once
    all were. `is_on_hold`: a model is newer on Compute Engine than in the store.
    """

    after: str | None = None
    is_complete: bool = False
    is_on_hold: bool = False
    drifted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was found about some models. `newer` are those newer on Compute Engine than in the
    store.
    """

    drifted: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    is_on_hold: bool = False


def scan(world: World) -> None:
    """Begin a scan if one is due, or go on with the present one, and wake what it has found. While
    the policy says `stop`, nothing is repaired, so nothing is compared.
    """
    cursor = world.store.get(CURSOR)
    if cursor is None and world.clock.now().minute % EVERY_MINUTES:
        return
    if read_stop(world.store):
        return
    progress = _progress(cursor.data) if cursor else Progress()
    if not progress.is_complete:
        states, after = read_states(world, progress.after)
        found = compare(world, states)
        for model in found.newer[:MAX_WAKEUPS]:
            outbox.wake(world, model)
        drifted = (*progress.drifted, *found.drifted)[:MAX_DRIFTED]
        is_on_hold = progress.is_on_hold or found.is_on_hold or bool(found.newer)
        progress = Progress(after, after is None, is_on_hold, () if is_on_hold else drifted)
    if progress.is_complete:
        for model in progress.drifted[:MAX_WAKEUPS]:
            outbox.wake(world, model)
        progress = replace(progress, drifted=progress.drifted[MAX_WAKEUPS:])
    if not progress.is_complete or progress.drifted:
        world.store.commit(Put(CURSOR, vars(progress) | {"drifted": [*progress.drifted]}))
    elif cursor:
        world.store.commit(Delete(CURSOR))


def _progress(data: Mapping[str, Any]) -> Progress:
    return Progress(**{**data, "drifted": tuple(data["drifted"])})


def read_states(world: World, after: str | None) -> tuple[tuple[ModelState, ...], str | None]:
    """The states of the next models, and where to go on (None: there are no more). A document of
    another schema is left to the Slipway that wrote it.
    """
    states: list[ModelState] = []
    for _ in range(MODELS_PER_TICK // PAGE):
        page = world.store.list("models", PAGE, after)
        for document in page:
            state = _read_state(world, document)
            if state:
                states.append(state)
        if len(page) < PAGE:
            return tuple(states), None
        after = page[-1].path.rpartition("/")[2]
    return tuple(states), after


def _read_state(world: World, document: Document) -> ModelState | None:
    """None if the document cannot be read. No pass can end what such a model has borrowed."""
    model = document.path.rpartition("/")[2]
    try:
        return from_document(document.data)
    except UnknownSchema:
        restore_overdue(world, model, document)
    except Exception:
        log.exception("document not readable", extra={"fields": {"model": model}})
        restore_overdue(world, model, document)
    return None


@dataclass(frozen=True)
class Inventory:
    """What exists: by key, by model, and the URL map by model."""

    bodies: Mapping[Key, Body | None]
    owned: Mapping[str, Mapping[Key, Body]]
    routes: url_map.Routes | None


def compare(world: World, states: Iterable[ModelState]) -> Found:
    """What of the models differs. One that cannot be compared does not stop the others."""
    known = tuple(states)
    settled = tuple(filter(_is_settled, known))
    if not settled:
        return Found(is_on_hold=any(state.hold for state in known))
    policy = load_project_policy(world.store, world.store.get_many([POLICY]), world.project)
    scopes = {state.desired.model: scope_of(state.rollout, state.desired) for state in settled}
    inventory = _read_inventory(world, scopes)
    representatives = set(_representatives(scopes).values())
    drifted, newer = [], []
    for state in settled:
        model = state.desired.model
        try:
            if is_newer(state, newest_revision(Snapshot(inventory.owned[model]), model)):
                newer.append(model)
            elif has_drifted(
                state, scopes[model], inventory, policy, is_for_all=model in representatives
            ):
                drifted.append(model)
        except Exception:
            log.exception("model not compared", extra={"fields": {"model": model}})
    return Found(tuple(drifted), tuple(newer), any(state.hold for state in known))


def _is_settled(state: ModelState) -> bool:
    return isinstance(state.rollout.phase, Settled) and state.requeue_at is None


def has_drifted(
    state: ModelState, scope: Scope, inventory: Inventory, policy: Policy, *, is_for_all: bool
) -> bool:
    """`is_for_all`: a change to the gateway's shared parts counts for this model."""
    target = clamp(policy, target_of(state.rollout, state.desired, Observed()))
    if not state.conditions and _has_other_route(target, inventory):
        return True
    # Only what was read. Anything else would look deleted; without it the plan raises a KeyError.
    bodies = {key: inventory.bodies.get(key) for key in full_reads(scope).keys if _is_read(key)}
    planned = plan(target, Snapshot({**bodies, **inventory.owned[scope.model]}), inventory.routes)
    known = {condition.why for condition in state.conditions}
    is_news = any(problem.message not in known for problem in planned.problems)
    return is_news or any(is_for_all or not _is_shared(action) for action in planned.actions)


def _has_other_route(target: Target, inventory: Inventory) -> bool:
    """Whether the model's route differs, without planning how to write the whole map."""
    if inventory.routes is None:
        return False
    route = url_map.desired(target.model, target.traffic) if target.traffic else None
    return url_map.route_drift(route, target.model, inventory.routes) is not None


def _is_shared(action: Action) -> bool:
    """Whether an action is on a shared part; a model's route is an update of the URL map."""
    return gateway.is_part(action.key) and action.verb != "update"


def _is_read(key: Key) -> bool:
    return key.collection in (*REGIONAL, *GLOBAL) or gateway.is_part(key)


def _representatives(scopes: Mapping[str, Scope]) -> dict[str | None, str]:
    """The first exposed model of each certificate."""
    found: dict[str | None, str] = {}
    for model, scope in scopes.items():
        if scope.is_exposed:
            found.setdefault(scope.certificate, model)
    return found


def _read_inventory(world: World, scopes: Mapping[str, Scope]) -> Inventory:
    """Of everything in the project, what concerns these models."""
    needed = {key for scope in scopes.values() for key in full_reads(scope).keys}

    def concerns(key: Key, body: Body) -> bool:
        return key in needed or naming.owner(body) in scopes

    listed = list_inventory(world.compute, concerns)
    parts = (key for key in needed if gateway.is_part(key))
    unlisted = tuple(sorted(key for key in parts if key.collection not in GLOBAL))
    read = world.compute.observe(ReadSet(unlisted)).bodies if unlisted else {}
    url_map_body = listed.get(naming.GATEWAY)
    is_ours = url_map_body is not None and naming.is_gateway(url_map_body)
    return Inventory(
        {**listed, **read},
        owned_by_model(listed, scopes),
        url_map.index(url_map_body) if url_map_body and is_ours else None,
    )
