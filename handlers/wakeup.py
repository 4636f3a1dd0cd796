"""A message on `model-wakeups`: a tick becomes a wake-up for each model that is due; any other
wake-up gets its model a turn.

Called by `main.on_wakeup`. A wake-up carries a model's name and nothing that a decision depends on,
so a lost, doubled or late one costs at most time: the tick of every minute is the guarantee that
each model with something to do is looked at."""

from __future__ import annotations

import logging
from typing import Any

from handlers.reconcile.drift_scan import find_drifted
from handlers.reconcile.loop import reconcile
from infra.bus.envelope import Unreadable, parse_message
from infra.store import repository
from infra.wiring import World
from rollout.spec.message import Invalid, decode_json
from rollout.spec.types import is_model_name

DUE_AT_ONCE = 200
SURVEY_EVERY_MINUTES = 5

log = logging.getLogger("slipway")


def handle(world: World, event: Any) -> None:
    try:
        message = parse_message(event, world.project)
        asked = decode_json(message.data)
    except (Unreadable, Invalid) as unreadable:
        log.warning("wake-up not understood", extra={"fields": {"why": str(unreadable)}})
        return
    match asked:
        case {"tick": True}:
            tick(world)
        case {"model": str(model)} if is_model_name(model):
            reconcile(world, model, message.id)
        case _:
            log.warning(
                "wake-up not understood",
                extra={
                    "fields": {
                        "why": "neither a tick nor the name of a model",
                        "event_id": message.id,
                    }
                },
            )


def tick(world: World) -> None:
    """Wake what is due, send what a crash left unsent, and every few minutes look for drift among
    the settled models."""
    now = world.clock.now()
    for model in world.store.list_due(now, DUE_AT_ONCE):
        repository.wake(world, model)
    repository.publish_unsent(world)
    if now.minute % SURVEY_EVERY_MINUTES == 0:
        for model in find_drifted(world):
            repository.wake(world, model)
