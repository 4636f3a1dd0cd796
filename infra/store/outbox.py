"""Messages that are committed together with what they report, and published until that is known to
have succeeded.

A handler commits a message in `outbox/`, publishes it and deletes it. After a crash the next tick
publishes what is left. A message keeps its id, so a receiver can drop a duplicate.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from infra.bus.port import BusError, Unavailable
from infra.store.port import Delete, Put, StoreError, Write

if TYPE_CHECKING:
    from infra.wiring import World

WAKEUPS = "model-wakeups"
STATUS = "model-rollout-status"
DEAD_LETTERS = "model-releases-dead"
GRACE = timedelta(seconds=30)
"""A younger message is left to the handler that committed it."""
PAGE = 100
MAX_PAGES = 20
MAX_FAILURES = 3  # of one topic in one tick

log = logging.getLogger("slipway")


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


def status_event(key: str, entry: Mapping[str, Any], now: datetime, kind: str = "rollout") -> Write:
    """The status event for a log entry, or for a condition."""
    data = json.dumps(entry, default=_iso).encode()
    return message(key, STATUS, data, status_attributes(key, str(entry["model"]), now, kind), now)


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


def wake(world: World, model: str, number: int | None = None) -> None:
    """Publish a wake-up. It carries nothing that a decision depends on and may be lost: the tick
    finds every model that is due.
    """
    world.bus.publish(WAKEUPS, wakeup(model, number))


def wakeup(model: str, number: int | None = None) -> bytes:
    """The data of a wake-up. One with a number is for one wait of the model, and is dropped after
    the pass that ends it; one without follows from something new.
    """
    numbered = {} if number is None else {"number": number}
    return json.dumps({"model": model} | numbered).encode()


def routes_wakeup(gateway: str = "") -> bytes:
    """The data of a wake-up that writes the routes that are pending for a gateway."""
    return json.dumps({"routes": gateway or True}).encode()


def publish_committed(world: World, writes: Iterable[Write]) -> None:
    """Publish the messages among the writes just committed. What the bus does not take stays in the
    outbox for the tick: what was committed is done, and its handler goes on.
    """
    for write in writes:
        if isinstance(write, Put) and write.path.startswith("outbox/"):
            _publish(world, write.path, write.data)


def publish_unsent(world: World) -> None:
    """Publish what is left in the outbox, page after page. After a few failures the other messages
    of the same topic are left for the next tick.
    """
    latest = world.clock.now() - GRACE
    failures: Counter[str] = Counter()  # by topic
    after: str | None = None
    for _ in range(MAX_PAGES):
        page = world.store.list("outbox", PAGE, after)
        for document in page:
            topic = document.data["topic"]
            if document.data["at"] <= latest and failures[topic] < MAX_FAILURES:
                failures[topic] += not _publish(world, document.path, document.data)
        if len(page) < PAGE:
            return
        after = page[-1].path.rpartition("/")[2]


def _publish(world: World, path: str, body: Mapping[str, Any]) -> bool:
    try:
        world.bus.publish(body["topic"], base64.b64decode(body["data"]), body["attributes"])
        world.store.commit(Delete(path))
    except (BusError, StoreError, Unavailable) as error:
        fields = {"topic": body["topic"], "message": path, "why": str(error)}
        log.warning("message left in the outbox", extra={"fields": fields})
        return False
    return True


def _iso(time: object) -> str:
    if not isinstance(time, datetime):
        raise TypeError(f"{type(time).__name__} has no JSON form here")
    return time.isoformat().replace("+00:00", "Z")
