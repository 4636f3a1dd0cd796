"""Records a message that can never be accepted, with a dead letter and a status event.

Called by `handlers/release.py`, for a message that raised `Refuse` or could not be read. Invariant:
a message is recorded once, however often it is delivered, and no value that could be a secret is
kept.
"""

from __future__ import annotations

import base64
import json
import logging

from handlers.redaction import redact_message
from infra.store import outbox
from infra.store.port import Conflict, Create
from infra.wiring import World

MAX_RAW_BYTES = 32 * 1024
MAX_WHY_BYTES = 1000

log = logging.getLogger("slipway")


class Refuse(Exception):
    """The message will never be accepted as it is. The text says why, and what would be
    accepted.
    """


def quarantine(world: World, key: str, why: str, raw: bytes) -> None:
    now, size, raw = world.clock.now(), len(raw), redact_message(raw)[:MAX_RAW_BYTES]
    record = {"why": why, "raw": base64.b64encode(raw).decode(), "size": size, "at": now}
    notice = json.dumps({"why": why, "quarantine": key, "size": size}).encode()
    short_why = why.encode(errors="replace")[:MAX_WHY_BYTES].decode(errors="ignore")
    letter = {"why": short_why, "quarantine": key}
    attributes = outbox.status_attributes(key, "", now, "quarantine")
    messages = (
        outbox.message(f"quarantine-{key}-dead", outbox.DEAD_LETTERS, raw, letter, now),
        outbox.message(f"quarantine-{key}-status", outbox.STATUS, notice, attributes, now),
    )
    try:
        world.store.commit(Create(f"quarantine/{key}", record), *messages)
    except Conflict:
        return
    log.warning("message quarantined", extra={"fields": {"event_id": key, "why": why}})
    outbox.publish_committed(world, messages)
