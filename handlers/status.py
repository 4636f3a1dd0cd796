"""Handles a status event on `model-rollout-status`: sends it to the destinations that want it.

Called by `main.on_status`. To return is to acknowledge; to raise is to have the event redelivered,
which sends again what could not be sent, and nothing else. After twelve hours it is given up.
Invariants: the record of a delivery is leased before anything is sent and closed afterwards, no
destination delays or silences another one, and nothing here changes a rollout.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from typing import Any

from infra.bus.envelope import Unreadable, parse_message
from infra.bus.status import parse_status
from infra.notifications.port import NotSent, Sent
from infra.store import deliveries, repository
from infra.store.deliveries import Delivery
from infra.store.documents import UnknownSchema
from infra.store.port import Conflict, StoreError, Unavailable
from infra.wiring import World
from rollout.notifications.model import Facts, Notification, StatusEvent
from rollout.notifications.settings import (
    DOCUMENT,
    MAX_DESTINATIONS,
    Destination,
    Notifications,
    load_notifications,
)
from rollout.notifications.text import notification_of
from rollout.spec.types import is_model_name, is_version

GIVE_UP_AFTER = timedelta(hours=12)

log = logging.getLogger("slipway")


class NotNotified(Exception):
    """Something has to be sent again, or `settings/notifications` to be repaired."""


def handle(world: World, event: Any) -> None:
    try:
        message = parse_message(event, world.project)
        status = parse_status(message)
    except Unreadable as error:
        log.warning("status event not understood", extra={"fields": {"why": str(error)}})
        return
    notify(world, status, message.published_at)


def notify(world: World, event: StatusEvent, published_at: datetime) -> None:
    """Send the event to each destination that takes it and does not have it yet."""
    document = world.store.get(DOCUMENT)
    settings = load_notifications(document.data if document else None)
    for problem in settings.problems:
        log.error("notifications misconfigured", extra={"fields": {"why": problem}})
    is_late = world.clock.now() - published_at > GIVE_UP_AFTER
    destinations = [each for each in settings.destinations if each.takes(event)]
    problems = [] if is_late else [*settings.problems]
    if is_late:
        _give_up(world, event, destinations)
    elif destinations:
        problems += _send_all(world, event, destinations, settings)
    if problems:
        raise NotNotified("; ".join(problems))


def _send_all(
    world: World, event: StatusEvent, destinations: list[Destination], settings: Notifications
) -> list[str]:
    """Send to all at once, and record each as soon as it has answered. What was not sent."""
    problems: list[str] = []
    leased: list[tuple[Destination, Delivery]] = []
    for destination in destinations:
        try:
            delivery = deliveries.acquire(world.store, event, destination, world.clock.now())
        except (StoreError, Unavailable) as error:
            problems.append(f"{destination.name}: {error}")
            continue
        if delivery:
            leased.append((destination, delivery))
    if not leased:
        return problems
    facts = _facts(world, event)
    notification = notification_of(event, facts, settings.link, world.project)
    with ThreadPoolExecutor(MAX_DESTINATIONS) as pool:
        sending = {
            pool.submit(
                world.notifier.send,
                destination,
                notification,
                _thread(world, event, destination),
                world.clock.now(),
            ): (destination, delivery)
            for destination, delivery in leased
        }
        for each in as_completed(sending):
            problems += _record(world, notification, *sending[each], each.result())
    return problems


def _record(
    world: World,
    notification: Notification,
    destination: Destination,
    delivery: Delivery,
    result: Sent | NotSent,
) -> Iterator[str]:
    """What is left to be sent again."""
    now, event = world.clock.now(), notification.event
    fields = {
        "model": event.model,
        "release": event.release,
        "event_id": event.id,
        "destination": destination.name,
    }
    try:
        match result:
            case Sent(thread):
                if thread:
                    deliveries.save_thread(world.store, event, destination, thread, now)
                deliveries.close(world.store, delivery, "sent")
                log.info("notification sent", extra={"fields": fields})
            case NotSent(why, is_final=True):
                deliveries.close(world.store, delivery, "given_up", why)
                log.error("notification given up", extra={"fields": fields | {"why": why}})
            case NotSent(why, seconds):
                again_at = now + timedelta(seconds=seconds)
                deliveries.release(world.store, delivery, why, again_at)
                log.warning("notification not sent", extra={"fields": fields | {"why": why}})
                yield f"{destination.name}: {why}"
    except (StoreError, Unavailable) as error:  # the lease of the record expires
        yield f"{destination.name}: {error}"


def _give_up(world: World, event: StatusEvent, destinations: list[Destination]) -> None:
    now = world.clock.now()
    for destination in destinations:
        try:
            delivery = deliveries.acquire(world.store, event, destination, now)
        except Conflict:  # somebody is sending it
            continue
        if delivery:
            why = delivery.why or "it was not delivered in time"
            deliveries.close(world.store, delivery, "given_up", why)
            fields = {"event_id": event.id, "destination": destination.name, "why": why}
            log.error("notification given up", extra={"fields": fields})


def _thread(world: World, event: StatusEvent, destination: Destination) -> str:
    if destination.type != "slack_bot":
        return ""
    return deliveries.find_thread(world.store, event, destination)


def _facts(world: World, event: StatusEvent) -> Facts:
    """What the documents say now; nothing if another version of Slipway wrote them."""
    if not is_model_name(event.model) or not is_version(event.release):
        return Facts()
    record = world.store.get(repository.release_path(event.model, event.release))
    requested_by = str(record.data.get("requested_by") or "") if record else ""
    try:
        stored = repository.load_state(world.store, event.model)
    except UnknownSchema:
        stored = None
    if stored is None:
        return Facts(requested_by)
    stable, previous = stored.state.rollout.stable, stored.state.rollout.previous
    return Facts(
        requested_by, stable.version if stable else "", previous.version if previous else ""
    )
