"""Handles a message on `model-wakeups`: a tick becomes a wake-up for each model that is due, and
any other wake-up reconciles its model.

Called by `main.on_wakeup`. A wake-up carries a model's name and nothing that a decision depends on,
so a lost, duplicate or late one costs at most time: the tick of every minute guarantees that each
model with something to do is reconciled.
"""

from __future__ import annotations

import logging
from typing import Any

from handlers.reconcile.drift_scan import find_drifted
from handlers.reconcile.loop import reconcile
from infra.bus.envelope import Unreadable, parse_message
from infra.store import outbox
from infra.wiring import World
from rollout.spec.message import Invalid, decode_json
from rollout.spec.types import is_model_name

MAX_DUE_PER_TICK = 200
DRIFT_SCAN_EVERY_MINUTES = 5

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
            tick(world)
        case {"model": str(model)} if is_model_name(model):
            reconcile(world, model, message.id)
        case _:
            why = "neither a tick nor the name of a model"
            fields = {"why": why, "event_id": message.id}
            log.warning("wake-up not understood", extra={"fields": fields})


def tick(world: World) -> None:
    """Wake the models that are due, publish what a crash left in the outbox, and every few minutes
    scan the settled models for drift.
    """
    now = world.clock.now()
    for model in world.store.list_due(now, MAX_DUE_PER_TICK):
        outbox.wake(world, model)
    outbox.publish_unsent(world)
    if now.minute % DRIFT_SCAN_EVERY_MINUTES == 0:
        for model in find_drifted(world):
            outbox.wake(world, model)
