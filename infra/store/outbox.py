"""Messages that are committed together with what they report, and published until that is known to
have succeeded.

A handler commits a message in `outbox/`, publishes it and deletes it. After a crash the next tick
publishes what is left. A message keeps its id, so a receiver can drop a duplicate.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from infra.store.port import Delete, Put, Write

if TYPE_CHECKING:
    from infra.wiring import World

WAKEUPS = "model-wakeups"
STATUS = "model-rollout-status"
DEAD_LETTERS = "model-releases-dead"
GRACE = timedelta(seconds=30)
"""A younger message is left to the handler that committed it."""


# ---- Writing


def message(
    key: str, topic: str, data: bytes, attributes: Mapping[str, str], now: datetime
) -> Write:
    """A message to publish. The same key is the same message, however often the commit is
    repeated.
    """
    body = {
        "topic": topic,
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes),
        "at": now,
    }
    return Put(f"outbox/{key}", body)


def status_event(key: str, entry: Mapping[str, Any], now: datetime) -> Write:
    """The status event for a log entry."""
    data = json.dumps(entry, default=_iso).encode()
    return message(key, STATUS, data, status_attributes(key, str(entry["model"]), now), now)


def status_attributes(key: str, model: str, now: datetime, kind: str = "rollout") -> dict[str, str]:
    """A CloudEvent's context in the Pub/Sub binding's binary mode."""
    return {
        "ce-id": key,
        "ce-source": "//slipway",
        "ce-type": f"io.slipway.{kind}.v1",
        "ce-specversion": "1.0",
        "ce-time": _iso(now),
        "ce-subject": model,
        "content-type": "application/json",
    }


# ---- Publishing


def wake(world: World, model: str) -> None:
    """Publish a wake-up. It carries nothing but the model's name and may be lost: the tick finds
    every model that is due.
    """
    world.bus.publish(WAKEUPS, json.dumps({"model": model}).encode())


def publish_committed(world: World, writes: Iterable[Write]) -> None:
    """Publish the messages among the writes just committed."""
    for write in writes:
        if isinstance(write, Put) and write.path.startswith("outbox/"):
            _publish(world, write.path, write.data)


def publish_unsent(world: World, limit: int = 100) -> None:
    """Publish what a crash left in the outbox."""
    latest = world.clock.now() - GRACE
    for document in world.store.list("outbox", limit, None):
        if document.data["at"] <= latest:
            _publish(world, document.path, document.data)


def _publish(world: World, path: str, body: Mapping[str, Any]) -> None:
    world.bus.publish(body["topic"], base64.b64decode(body["data"]), body["attributes"])
    world.store.commit(Delete(path))


def _iso(time: object) -> str:
    if not isinstance(time, datetime):
        raise TypeError(f"{type(time).__name__} has no JSON form here")
    return time.isoformat().replace("+00:00", "Z")
