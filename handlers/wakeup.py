"""Handles a message on `model-wakeups`: a tick becomes a wake-up for each model that is due, and
any other wake-up reconciles its model, or writes the routes that are pending.

Called by `main.on_wakeup`. A wake-up carries a model's name and nothing that a decision depends on,
so a lost, duplicate or late one costs at most time: the tick of every minute guarantees that each
model with something to do is reconciled. A wake-up for a pass that has run since is dropped by its
number, and a tick that waited behind others by its age.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from handlers.reconcile import routine
from handlers.reconcile.drift_scan import scan
from handlers.reconcile.loop import reconcile
from handlers.reconcile.route_writer import drain, request_drain
from infra.bus.envelope import Unreadable, parse_message
from infra.compute import call_count
from infra.identity.record import LAST_TICK, TickRecord, tick_to_document
from infra.store import outbox
from infra.store.port import Due, Put
from infra.wiring import World
from rollout.spec.message import Invalid, decode_json
from rollout.spec.types import is_gateway_name, is_model_name

PAGE = 200
DUE_TIME = timedelta(seconds=30)
"""How long one tick publishes wake-ups. What is left has waited longest at the next tick."""
STALE = timedelta(seconds=60)
"""A newer tick has been published."""
MAX_WHY = 300

log = logging.getLogger("slipway")


def handle(world: World, event: Any) -> None:
    try:
        message = parse_message(event, world.project)
        request = decode_json(message.data)
    except (Unreadable, Invalid) as error:
        log.warning("wake-up not understood", extra={"fields": {"why": str(error)}})
        return
    match request:
        case {"tick": True}:
            if world.clock.now() - _published(request, message.published_at) < STALE:
                tick(world)
        case {"routes": True}:
            drain(world)
        case {"routes": str(gateway)} if is_gateway_name(gateway):
            drain(world, gateway)
        case {"model": str(model), **rest} if is_model_name(model):
            number = rest.get("number")
            reconcile(world, model, message.id, number if isinstance(number, int) else None)
        case _:
            why = "neither a tick, nor a request for routes, nor the name of a model"
            fields = {"why": why, "event_id": message.id}
            log.warning("wake-up not understood", extra={"fields": fields})


def _published(request: dict[str, Any], published_at: datetime) -> datetime:
    """When a tick was published. The local stack, whose time runs faster than that of its Pub/Sub,
    states it as `at`.
    """
    at = request.get("at")
    return datetime.fromisoformat(at) if isinstance(at, str) else published_at


def tick(world: World) -> None:
    """Wake the models that are due, publish what is left in the outbox, and scan for drift. Each
    part fails alone and is repeated by the next tick: if the message were redelivered, the parts
    that succeeded would be repeated with it. What failed is recorded for people.
    """
    at, calls = world.clock.now(), call_count.start()
    parts: dict[str, Callable[[World], object]] = {
        "due models": wake_due,
        "count": routine.count_due,
        "routes": request_drain,
        "outbox": outbox.publish_unsent,
        "drift scan": scan,
    }
    failed = [why for part, do in parts.items() if (why := _attempt(part, do, world))]
    record = Put(LAST_TICK, tick_to_document(TickRecord(at, tuple(failed))))
    _attempt("record", lambda world: world.store.commit(record), world)
    log.info("tick processed", extra={"fields": {"failed": len(failed), "calls": calls.total}})


def _attempt(part: str, do: Callable[[World], object], world: World) -> str | None:
    """Why it failed; None if it did not."""
    try:
        do(world)
    except Exception as error:
        fields = {"part": part, "why": repr(error)}
        log.exception("a part of the tick failed", extra={"fields": fields})
        return f"{part}: {error!r}"[:MAX_WHY]
    return None


def wake_due(world: World) -> None:
    """A wake-up for each model that is due, page after page, longest due first. Of routine passes
    there are at most as many as the project's reads allow in a minute, and they come last: whatever
    waits for an event or for instances is not behind them.
    """
    now, most = world.clock.now(), routine.passes_per_minute(world)
    after: Due | None = None
    later: list[Due] = []
    while page := world.store.list_due(now, PAGE, after):
        for due in page:
            if not due.is_routine:
                outbox.wake(world, due.model, due.wakeups)
            elif len(later) < most:
                later.append(due)
        if world.clock.now() - now > DUE_TIME:
            break
        after = page[-1]
    for due in later:
        if world.clock.now() - now > DUE_TIME:
            return
        outbox.wake(world, due.model, due.wakeups)
