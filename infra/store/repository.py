"""How handlers write: the model's document with its fence, the log, the releases' outcomes and the
outbox, in one commit.

Called by every handler that changes anything. Invariant: what happened and the message that tells
of it are committed together, and `publish_outbox` sends such a message until it is known to be
sent, under one event id, so that a receiver can drop a repeat."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from infra.store.documents import State, from_document, release_to_document, to_document
from infra.store.port import Conflict, Create, Delete, Document, Put, Replace, Write
from infra.wiring import World
from rollout.model import Release, Transition

WAKEUPS = "model-wakeups"
STATUS = "model-rollout-status"
DEAD_LETTERS = "model-releases-dead"
MAX_RECENT_EVENTS = 50
OUTBOX_GRACE = timedelta(seconds=30)
TRIES = 20

T = TypeVar("T")

log = logging.getLogger("slipway")


class Refuse(Exception):
    """The message will never be accepted as it is; the text says why, and what would be."""


@dataclass(frozen=True)
class StoredState:
    """A model's state and the document version it was read at: what a later write is fenced by."""

    state: State
    version: str | None


def stored_state(document: Document | None) -> StoredState | None:
    return StoredState(from_document(document.data), document.version) if document else None


def load_state(world: World, model: str) -> StoredState | None:
    return stored_state(world.store.get(model_path(model)))


def write_state(before: StoredState, state: State) -> Write:
    path, data = model_path(state.desired.model), to_document(state)
    return Create(path, data) if before.version is None else Replace(path, data, before.version)


def with_event_id(state: State, event_id: str) -> State:
    return replace(state, seen=(*state.seen, event_id)[-MAX_RECENT_EVENTS:])


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Repeat a read-decide-write until no other writer got in between. So many lost races in a row
    are left to redelivery."""
    for _ in range(TRIES - 1):
        with suppress(Conflict):
            return attempt()
    return attempt()


def model_path(model: str) -> str:
    return f"models/{model}"


def release_path(model: str, version: str) -> str:
    return f"models/{model}/releases/{version}"


def record_transitions(
    state: State, transitions: Iterable[Transition], now: datetime, event_id: str
) -> tuple[Write, ...]:
    """The writes that put transitions on record: log entries, the releases' outcomes, status events
    for the outbox."""
    writes: list[Write] = []
    for number, transition in enumerate(transitions):
        model, key = state.desired.model, f"{state.revision:08d}-{number}"
        entry = {
            "model": model,
            "release": transition.release,
            "from": transition.from_,
            "to": transition.to,
            "why": transition.why,
            "reason": transition.reason,
            "outcome": transition.outcome,
            "evidence": list(transition.evidence),
            "at": now,
            "event_id": event_id,
            "generation": state.desired.generation,
            "outputs": dict(state.outputs) if transition.outcome == "succeeded" else {},
        }
        writes.append(Put(f"models/{model}/log/{key}", entry))
        writes.append(_status(f"{model}-{key}", entry, now))
    return tuple(writes)


def release_outcome(model: str, release: Release, transition: Transition, now: datetime) -> Write:
    """The release's record with how it ended. The rest of the record is what it was when the
    release was accepted."""
    end = {"why": transition.why, "reason": transition.reason, "at": now}
    record = release_to_document(release) | {"outcome": transition.outcome, "ended": end}
    return Put(release_path(model, release.version), record)


def outbox_message(
    key: str, topic: str, data: bytes, attributes: Mapping[str, str], now: datetime
) -> Write:
    """A message to be sent. Its key makes it the same message however often the commit is
    repeated."""
    body = {
        "topic": topic,
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes),
        "at": now,
    }
    return Put(f"outbox/{key}", body)


def _status(key: str, entry: Mapping[str, Any], now: datetime) -> Write:
    return outbox_message(
        key,
        STATUS,
        json.dumps(entry, default=_iso).encode(),
        status_attributes(key, str(entry["model"]), now),
        now,
    )


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


def wake(world: World, model: str) -> None:
    world.bus.publish(WAKEUPS, json.dumps({"model": model}).encode())


def publish_outbox(world: World, writes: Iterable[Write]) -> None:
    """Send the outgoing messages among the writes just committed, and strike them off."""
    for write in writes:
        if isinstance(write, Put) and write.path.startswith("outbox/"):
            send(world, write.path, write.data)


def publish_unsent(world: World, limit: int = 100) -> None:
    """Send what a crash left in the outbox. What is younger than a moment is still its own writer's
    to send."""
    latest = world.clock.now() - OUTBOX_GRACE
    for document in world.store.list("outbox", limit, None):
        if document.data["at"] <= latest:
            send(world, document.path, document.data)


def send(world: World, path: str, body: Mapping[str, Any]) -> None:
    world.bus.publish(body["topic"], base64.b64decode(body["data"]), body["attributes"])
    world.store.commit(Delete(path))


def log_quarantine(key: str, why: str) -> None:
    log.warning("message quarantined", extra={"fields": {"event_id": key, "why": why}})


def _iso(moment: object) -> str:
    if not isinstance(moment, datetime):
        raise TypeError(f"{type(moment).__name__} has no JSON form here")
    return moment.isoformat().replace("+00:00", "Z")
