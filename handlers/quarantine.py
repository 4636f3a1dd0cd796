"""Records a message that can never be accepted, with a dead letter, a status event, and an entry in
the log of the model that it names.

Called by `handlers/release.py`, for a message that raised `Refuse` or could not be read. Invariant:
a message is recorded once, however often it is delivered, and no value that could be a secret is
kept.
"""

from __future__ import annotations

import base64
import json
import logging
from datetime import datetime
from typing import Any

from handlers.redaction import redact_message
from infra.bus.envelope import Unreadable
from infra.store import outbox, repository
from infra.store.documents import intent_to_document
from infra.store.port import Conflict, Create, Put, Write
from infra.wiring import World
from rollout.deferred import dataclass
from rollout.model import Intent
from rollout.spec.message import Invalid, decode_json
from rollout.spec.types import is_model_name, is_version

MAX_RAW_BYTES = 32 * 1024
MAX_WHY_BYTES = 1000

log = logging.getLogger("slipway")


class Refuse(Exception):
    """The message will never be accepted as it is. Each problem says why, and what would be
    accepted.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NoModel(Refuse):
    """A command for a model that does not exist. The model's first release may have been published
    before it and arrive after it, so its intent is kept in the model's log.
    """

    def __init__(self, model: str, intent: Intent) -> None:
        super().__init__(f"model: there is no model {model}, so there is nothing to {intent.verb}")
        self.intent = intent


@dataclass(frozen=True)
class Subject:
    """What a refused message is about, as far as it can be read."""

    model: str = ""
    version: str = ""


def quarantine(world: World, key: str, error: Exception, raw: bytes) -> None:
    size = max(len(raw), error.size if isinstance(error, Unreadable) else 0)
    now, raw = world.clock.now(), redact_message(raw)
    subject, why, problems = subject_of(raw), str(error), problems_of(error)
    about = vars(subject) | {"why": why, "problems": problems, "size": size}
    kept = base64.b64encode(raw[:MAX_RAW_BYTES]).decode()
    notice = json.dumps(about | {"quarantine": key}).encode()
    short_why = why.encode(errors="replace")[:MAX_WHY_BYTES].decode(errors="ignore")
    letter = {"why": short_why, "quarantine": key}
    attributes = outbox.status_attributes(key, subject.model, now, "quarantine")
    dead, status = f"quarantine-{key}-dead", f"quarantine-{key}-status"
    messages = (
        outbox.message(dead, outbox.DEAD_LETTERS, raw[:MAX_RAW_BYTES], letter, now),
        outbox.message(status, outbox.STATUS, notice, attributes, now),
    )
    log_entry = _log_entry(world, subject, key, error, now)
    record = about | {"raw": kept, "at": now}
    try:
        world.store.commit(Create(f"quarantine/{key}", record), *messages, *log_entry)
    except Conflict:
        return
    fields = {"event_id": key, "model": subject.model, "release": subject.version, "why": why}
    log.warning("message quarantined", extra={"fields": fields})
    outbox.publish_committed(world, messages)


def problems_of(error: Exception) -> list[str]:
    found = getattr(error, "problems", None) or (error,)
    return [str(problem) for problem in found]


def subject_of(raw: bytes) -> Subject:
    """The model and the version that a redacted message names, inside a CloudEvent too. Anything
    but a valid name is left out.
    """
    try:
        body = decode_json(raw)
    except Invalid:
        return Subject()
    if isinstance(body, dict) and isinstance(body.get("data"), dict):
        body = body["data"]
    match body:
        case {"model": str(model), **rest} if is_model_name(model):
            version = rest.get("version")
            is_valid = isinstance(version, str) and is_version(version)
            return Subject(model, str(version) if is_valid else "")
    return Subject()


def _log_entry(
    world: World, subject: Subject, key: str, error: Exception, now: datetime
) -> tuple[Write, ...]:
    """The entry in the model's log, after what happened before."""
    if not subject.model:
        return ()
    document = world.store.get(repository.model_path(subject.model))
    revision = document.data.get("revision", 0) if document else 0
    entry: dict[str, Any] = {
        "model": subject.model,
        "release": subject.version,
        "from": "published",
        "to": "quarantined",
        "why": str(error),
        "problems": problems_of(error),
        "reason": None,
        "outcome": None,
        "evidence": [],
        "at": now,
        "event_id": key,
        "generation": 0,
        "outputs": {},
    }
    if isinstance(error, NoModel):
        entry["intent"] = intent_to_document(error.intent)
    return (Put(f"models/{subject.model}/log/{revision:08d}-quarantine-{key}", entry),)
