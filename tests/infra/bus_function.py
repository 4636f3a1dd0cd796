"""A function as it is deployed, which writes down what reaches it. The bus tests serve it over
HTTP, or call `take`.

A line of the journal is a delivery. A message fails as often as its attribute `fail` says before it
is taken; a body that cannot be read is acknowledged, as the handlers do it."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections import Counter
from pathlib import Path

import functions_framework
from cloudevents.http import CloudEvent

from infra.bus.envelope import CloudEventLike, Unreadable, parse_message

_deliveries: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()


@functions_framework.cloud_event  # type: ignore[untyped-decorator]
def on_message(event: CloudEvent) -> None:
    take(event, Path(os.environ["BUS_JOURNAL"]))


def take(event: CloudEventLike, journal: Path) -> None:
    try:
        message = parse_message(event)
    except Unreadable as unreadable:
        _write(journal, {"why": unreadable.why, "raw": base64.b64encode(unreadable.raw).decode()})
        return
    told = {
        "id": message.id,
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
        "published_at": message.published_at.isoformat(),
        "attempt": message.attempt,
        "subscription": message.subscription,
        "topic": message.topic,
    }
    with _lock:
        _deliveries[message.topic, message.id] += 1
        count = _deliveries[message.topic, message.id]
    _write(journal, told)
    if count <= int(message.attributes.get("fail", "0")):
        raise RuntimeError(f"message {message.id} fails for the {count}. time, as it asked")


def _write(journal: Path, told: dict[str, object]) -> None:
    with _lock, journal.open("a") as file:
        file.write(json.dumps(told) + "\n")
