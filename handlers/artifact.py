"""Handles a vendor's message about an artifact: publishes the releases that it is, or why it is
none.

Called by `main.on_artifact`. It reads `settings/sources` and publishes on `model-releases`, and
nothing else: its identity may write no document, so the intake records what was ignored. To return
is to acknowledge; a document that is wrong raises, and the message is delivered again once it is
repaired. Invariant: the event of a release has an id of the artifact and the model, so a message
that is repeated, or another one about the same artifact, changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from handlers.sources import READERS
from infra.bus.envelope import (
    IGNORED_TYPE,
    RELEASE_TYPE,
    Unreadable,
    parse_event,
    parse_message,
)
from infra.wiring import World
from rollout.deferred import dataclass
from rollout.sources.decide import NewRelease, releases_for
from rollout.sources.model import SOURCE_ATTRIBUTE, Ignored, SourceName
from rollout.sources.settings import DOCUMENT, Route, load_routes
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import read_json

RELEASES = "model-releases"
TOPICS: Mapping[str, SourceName] = {"gcr": "artifact_registry", "cloud-builds": "cloud_build"}
"""Topics that one vendor alone publishes on. Everything else arrives on `model-artifacts`."""
EVENTS: Mapping[str, SourceName] = {
    "google.cloud.audit.log.v1.written": "vertex",
    "google.cloud.storage.object.v1.finalized": "cloud_storage",
}
"""What a trigger of Eventarc may send without Pub/Sub."""
WEBHOOKS: Mapping[str, SourceName] = {"hugging_face": "hugging_face", "mlflow": "mlflow"}

log = logging.getLogger("slipway")


@dataclass(frozen=True)
class Delivery:
    """A vendor's message. `source` is None if nothing says whose it is, and `problem` says why it
    cannot be read at all.
    """

    id: str
    at: datetime
    source: SourceName | None
    body: Any
    attributes: Mapping[str, str]
    problem: str = ""


def handle(world: World, event: Any) -> None:
    try:
        delivery = read_delivery(event, world.project)
    except Unreadable as error:
        log.warning("artifact event not understood", extra={"fields": {"why": str(error)}})
        return
    document = world.store.get(DOCUMENT)
    routes = load_routes(document.data if document else None)
    for outcome in decide(delivery, routes):
        match outcome:
            case NewRelease():
                _publish_release(world, delivery, outcome)
            case Ignored():
                _publish_ignored(world, delivery, outcome, is_set_up=bool(routes))


def read_delivery(event: Any, project: str = "") -> Delivery:
    """The message in an event of Pub/Sub or Eventarc. Raises `Unreadable` if the event is none."""
    source = EVENTS.get(str(event.get("type")))
    if source:
        id, at, body = parse_event(event)
        return Delivery(id, at, source, body, {})
    message = parse_message(event, project)
    body, problem = None, ""
    try:
        body = read_json(message.data) if message.data else None
    except Invalid as error:
        problem = f"the data cannot be read: {error}"
    except RecursionError:
        problem = "the data cannot be read: it is nested too deep"
    topic = message.topic.rpartition("/")[2]
    source = TOPICS.get(topic) or _source_of(body, message.attributes)
    return Delivery(message.id, message.published_at, source, body, message.attributes, problem)


def decide(delivery: Delivery, routes: tuple[Route, ...]) -> tuple[NewRelease | Ignored, ...]:
    """What is to be published of it."""
    if delivery.problem:
        return (Ignored(delivery.problem),)
    if delivery.source is None:
        return (Ignored("nothing in the message says which vendor sent it"),)
    found = READERS[delivery.source](delivery.body, delivery.attributes)
    if isinstance(found, Ignored):
        return (found,)
    return tuple(each for artifact in found for each in releases_for(artifact, routes))


def _source_of(body: Any, attributes: Mapping[str, str]) -> SourceName | None:
    if SOURCE_ATTRIBUTE in attributes:
        return WEBHOOKS.get(attributes[SOURCE_ATTRIBUTE])
    if "eventType" in attributes and "bucketId" in attributes:
        return "cloud_storage"
    return "vertex" if isinstance(body, dict) and "protoPayload" in body else None


def _publish_release(world: World, delivery: Delivery, release: NewRelease) -> None:
    data = json.dumps(release.message).encode()
    world.bus.publish(RELEASES, data, _context(delivery, release.event_id, RELEASE_TYPE))
    fields = {
        "model": release.model,
        "release": release.message["version"],
        "event_id": release.event_id,
        "source": delivery.source,
    }
    log.info("artifact released", extra={"fields": fields})


def _publish_ignored(
    world: World, delivery: Delivery, ignored: Ignored, *, is_set_up: bool
) -> None:
    """Without any route nobody expects a release, and there is only a line in the log."""
    about = {"source": delivery.source or "", "about": ignored.about, "why": ignored.why}
    log.info("artifact ignored", extra={"fields": about | {"event_id": delivery.id}})
    if is_set_up:
        event_id = hashlib.sha256(f"{delivery.id} {ignored.about}".encode()).hexdigest()[:32]
        context = _context(delivery, event_id, IGNORED_TYPE)
        world.bus.publish(RELEASES, json.dumps(about).encode(), context)


def _context(delivery: Delivery, event_id: str, kind: str) -> dict[str, str]:
    """A CloudEvent's context in the Pub/Sub binding's binary mode."""
    return {
        "ce-id": event_id,
        "ce-source": f"//slipway/sources/{delivery.source or ''}",
        "ce-type": kind,
        "ce-specversion": "1.0",
        "ce-time": delivery.at.isoformat(),
        "content-type": "application/json",
    }
