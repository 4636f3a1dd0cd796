"""Finds the settled models whose resources differ from their target, many models at once, by list
calls.

Called by `handlers/wakeup.py` at every tick: every few minutes a scan begins. It compares page
after page of models for some seconds, and the next ticks go on from a cursor in the store, which is
written after every page: a crash, or a list that is refused, costs one page. It changes nothing and
decides nothing: a model whose plan is not empty gets a wake-up, and its pass observes it anew. It
also finds what should not exist, for example when Compute Engine carries out a dead worker's insert
after the model was retired.

Invariants: a model that is not settled is left to its own `requeue_at`, unless it is paused and its
instances are being replaced; while a model is on hold because the store was restored, no other
model is repaired, since its document may be as old. So drift is repaired only after all models were
compared. Of two scans at once one writes the cursor, and the other stops.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from handlers.reconcile.compare import Shared, compare, read_shared
from handlers.reconcile.overdue import restore_overdue
from infra.cold_start import without_collection
from infra.compute.errors import RateLimited
from infra.fleet.name_range import name_filter
from infra.settings import read_stop
from infra.store import outbox
from infra.store.documents import UnknownSchema, from_document
from infra.store.port import Conflict, Create, Delete, Document, Replace
from infra.store.settled import SETTLED_FIELDS, SettledModel, is_paused, is_settled, read_settled
from infra.wiring import World
from rollout.deferred import dataclass

EVERY_MINUTES = 5
PAGE = 500
COMPARE_TIME = timedelta(seconds=20)
"""So long one tick begins further pages."""
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
class Page:
    """The next models: the settled ones and those that are paused, the filter for their resources
    (empty if these are all models), and where to go on (None: there are no more).
    """

    settled: tuple[SettledModel, ...]
    paused: frozenset[str]
    filter: str
    is_on_hold: bool
    after: str | None


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
    version = cursor.version if cursor else None
    try:
        if not progress.is_complete:
            progress, version = _compare_pages(world, progress, version)
        if progress.is_complete:
            _finish(world, progress, version)
    except Conflict:
        log.info("drift scan left to another one")
    except RateLimited as refusal:
        fields = {"why": str(refusal)}
        log.info("drift scan left to the next tick", extra={"fields": fields})


def _progress(data: Mapping[str, Any]) -> Progress:
    """A scan begins anew after what no scan has saved, which would stop all of them."""
    after, drifted = data.get("after"), data.get("drifted")
    if not isinstance(after, str | None) or not isinstance(drifted, list):
        return Progress()
    if not all(isinstance(each, str) for each in drifted):
        return Progress()
    is_complete, is_on_hold = (data.get(name) is True for name in ("is_complete", "is_on_hold"))
    return Progress(after, is_complete, is_on_hold, tuple(drifted))


def _compare_pages(
    world: World, progress: Progress, version: str | None
) -> tuple[Progress, str | None]:
    """Compares a page, and more until the time is over or all models were compared. The progress is
    saved after each page but the last, and returned with the cursor's version.
    """
    until = world.clock.now() + COMPARE_TIME
    shared, left = read_shared(world), MAX_WAKEUPS
    while True:
        with without_collection():  # it would look at the whole page again and again
            progress, newer, shared = _compare_page(world, progress, shared)
        for model in newer[:left]:
            outbox.wake(world, model)
        left = max(0, left - len(newer))
        if progress.is_complete:
            return progress, version
        version = _save(world, progress, version)
        if world.clock.now() >= until:
            return progress, version


def _compare_page(
    world: World, progress: Progress, shared: Shared
) -> tuple[Progress, tuple[str, ...], Shared]:
    page = read_page(world, progress.after)
    found, shared = compare(world, shared, page.settled, page.filter, page.paused)
    is_on_hold = progress.is_on_hold or page.is_on_hold or bool(found.newer)
    drifted = (*progress.drifted, *found.drifted)[:MAX_DRIFTED]
    is_complete = page.after is None
    after = Progress(page.after, is_complete, is_on_hold, () if is_on_hold else drifted)
    return after, found.newer, shared


def _save(world: World, progress: Progress, version: str | None) -> str:
    """Saves the progress and returns its version. Raises `Conflict` if another scan did."""
    data = vars(progress) | {"drifted": [*progress.drifted]}
    write = Replace(CURSOR, data, version) if version else Create(CURSOR, data)
    return world.store.commit(write)[CURSOR]


def _finish(world: World, progress: Progress, version: str | None) -> None:
    """Wakes what has drifted, as many models as one tick may."""
    for model in progress.drifted[:MAX_WAKEUPS]:
        outbox.wake(world, model)
    rest = replace(progress, drifted=progress.drifted[MAX_WAKEUPS:])
    if rest.drifted:
        _save(world, rest, version)
    elif version:
        world.store.commit(Delete(CURSOR, version))


def read_page(world: World, after: str | None) -> Page:
    """A document of another schema is left to the Slipway that wrote it."""
    documents = world.store.list("models", PAGE, after, SETTLED_FIELDS)
    settled = [found for each in documents if (found := _read_settled(world, each))]
    is_last = len(documents) < PAGE
    is_all = after is None and is_last
    paused = frozenset(_model_of(each) for each in documents if is_paused(each.data))
    names = sorted({*(each.state.desired.model for each in settled), *paused})
    return Page(
        tuple(settled),
        paused,
        name_filter(names) if names and not is_all else "",
        any(each.data.get("hold") for each in documents),
        None if is_last else _model_of(documents[-1]),
    )


def _read_settled(world: World, document: Document) -> SettledModel | None:
    """None if the model is not settled, or its document cannot be read. What a rollout has borrowed
    is given back when it is overdue: no pass can end it if the document is not readable.
    """
    model = _model_of(document)
    if document.data.get("capacity_lease"):
        restore_overdue(world, model, document)
    try:
        if not is_settled(document.data):
            return None
        return read_settled(document.data) or _read_whole(world, document)
    except UnknownSchema:
        pass
    except Exception:
        log.exception("document not readable", extra={"fields": {"model": model}})
    return None


def _read_whole(world: World, document: Document) -> SettledModel | None:
    """None if the model is gone, or no longer settled."""
    whole = world.store.get(document.path)
    if whole is None or not is_settled(whole.data):
        return None
    return SettledModel(from_document(whole.data))


def _model_of(document: Document) -> str:
    return document.path.rpartition("/")[2]
