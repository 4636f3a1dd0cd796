"""Records which notification went to which destination, so that none is sent twice.

Called by `handlers/status.py`. A record is leased before a notification is sent, and closed
afterwards. Whoever finds it leased leaves the message to redelivery: the worker that leased it may
have crashed, before or after it sent. Invariants: a record that is closed stays closed, and of two
workers one gets the lease.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from infra.store.port import Conflict, Create, Replace, Store
from rollout.deferred import dataclass
from rollout.notifications.model import StatusEvent
from rollout.notifications.settings import Destination

LEASE = timedelta(seconds=60)
KEPT = timedelta(days=30)
"""Firestore deletes a record then (`expires_at`); no message is delivered so late."""

State = Literal["sending", "failed", "sent", "given_up"]


@dataclass(frozen=True)
class Delivery:
    """The record of one notification to one destination. `version` fences its next write."""

    path: str
    state: State
    attempts: int
    leased_until: datetime
    expires_at: datetime
    why: str = ""
    version: str = ""

    @property
    def is_closed(self) -> bool:
        return self.state in ("sent", "given_up")


def acquire(
    store: Store, event: StatusEvent, destination: Destination, now: datetime
) -> Delivery | None:
    """The leased record; None if it is closed. Raises `Conflict` while somebody else has it, or a
    receiver wants to be left alone.
    """
    path = f"notifications/{event.id}@{destination.name}"
    found = store.get(path)
    before = _read(path, found.data, found.version) if found else None
    if before is None:
        leased = Delivery(path, "sending", 1, now + LEASE, now + KEPT)
        versions = store.commit(Create(path, _document(leased)))
        return replace(leased, version=versions[path])
    if before.is_closed:
        return None
    if before.leased_until > now:
        raise Conflict(path, f"is leased until {before.leased_until:%H:%M:%S}")
    leased = replace(
        before, state="sending", attempts=before.attempts + 1, leased_until=now + LEASE
    )
    versions = store.commit(Replace(path, _document(leased), before.version))
    return replace(leased, version=versions[path])


def close(store: Store, delivery: Delivery, state: State, why: str = "") -> None:
    """Nothing more will be sent. Raises `Conflict` if the lease had expired and somebody else has
    it.
    """
    closed = replace(delivery, state=state, why=why)
    store.commit(Replace(delivery.path, _document(closed), delivery.version))


def release(store: Store, delivery: Delivery, why: str, again_at: datetime) -> None:
    """It was not sent: from `again_at` on somebody may try again."""
    failed = replace(delivery, state="failed", why=why, leased_until=again_at)
    store.commit(Replace(delivery.path, _document(failed), delivery.version))


def find_thread(store: Store, event: StatusEvent, destination: Destination) -> str:
    """What names the thread of the event's release at the destination; empty before its first
    notification.
    """
    found = store.get(_thread_path(event, destination))
    return str(found.data["thread"]) if found else ""


def save_thread(
    store: Store, event: StatusEvent, destination: Destination, thread: str, now: datetime
) -> None:
    """The first one of two that began at once stays."""
    path = _thread_path(event, destination)
    with suppress(Conflict):
        store.commit(Create(path, {"thread": thread, "expires_at": now + KEPT}))


def _thread_path(event: StatusEvent, destination: Destination) -> str:
    return f"notification_threads/{event.thread.replace('/', '@')}@{destination.name}"


def _document(delivery: Delivery) -> dict[str, Any]:
    fields = vars(delivery)
    return {name: fields[name] for name in fields if name not in ("path", "version")}


def _read(path: str, data: dict[str, Any], version: str) -> Delivery:
    return Delivery(path, **data, version=version)
