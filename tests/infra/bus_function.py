"""A deployable function that records its deliveries in a journal. The bus tests serve it over HTTP,
or call `record`.

Each line of the journal is one delivery. The attribute `fail` of a message says how often its
delivery fails. A message that cannot be parsed is acknowledged, as the handlers do.
"""

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
    record(event, Path(os.environ["BUS_JOURNAL"]))


def record(event: CloudEventLike, journal: Path) -> None:
    try:
        message = parse_message(event)
    except Unreadable as unreadable:
        _append(journal, {"why": unreadable.why, "raw": base64.b64encode(unreadable.raw).decode()})
        return
    delivery = {
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
    _append(journal, delivery)
    if count <= int(message.attributes.get("fail", "0")):
        raise RuntimeError(f"message {message.id} fails: delivery {count}")


def _append(journal: Path, line: dict[str, object]) -> None:
    with _lock, journal.open("a") as file:
        file.write(json.dumps(line) + "\n")
