"""What travels on the bus: how a message is published, what reaches a function, what its sender
meant. Nothing here does I/O.

Two envelopes nest. `received` opens the outer one, in which the platform brings a Pub/Sub message
to a function; `payload` opens the inner one, a CloudEvent that the sender may have put around the
data. Both trust nothing: functions-framework authenticates no one, and passes on whatever a caller
made up. What cannot be read raises `Unreadable` and no other exception, so that a handler can put
it on record and be done. `infra/bus/` holds what publishes: Pub/Sub, and its stand-in within the
process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from infra.bus import validators
from infra.bus.validators import display
from infra.errors import Unavailable

__all__ = [
    "Bus",
    "BusError",
    "Message",
    "Payload",
    "Unavailable",
    "Unreadable",
    "check_outgoing",
    "payload",
    "received",
]

RELEASE_TYPE = "io.slipway.model.release.v1"
COMMAND_TYPE = "io.slipway.model.command.v1"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
MAX_DATA_BYTES = (
    256 * 1024
)  # of what is read; far above any event, far below what a document can hold
MAX_OUTGOING_BYTES = 10_000_000

_SERVICE = "//pubsub.googleapis.com/"
_STRUCTURED = "application/cloudevents"
_CONTEXT = ("ce-specversion", "ce-id", "ce-source", "ce-type")
_MAX_CONTEXT_TEXT = 1024


class Bus(Protocol):
    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] = {}) -> str:
        """Publish to the topic of that short name, wait until the message is safe, and return its
        id.

        Raises `Unavailable` when it is not known to be safe: publish again, a doubled message is
        harmless. Raises `BusError` when it is refused for good. Order is not kept."""
        ...


class BusError(Exception):
    """The bus refused a message for good, for example because the topic or a permission is missing.
    A person has to act."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Unreadable(Exception):
    """`raw` is what there was to read, at most `MAX_DATA_BYTES` of it."""

    def __init__(self, why: str, raw: bytes) -> None:
        super().__init__(why)
        self.why = why
        self.raw = raw[:MAX_DATA_BYTES]


@dataclass(frozen=True)
class Message:
    """A Pub/Sub message. `attempt` counts deliveries from 1 and is 0 where nobody counts;
    `subscription` and `topic` are full names (`projects/P/topics/T`), empty where the envelope does
    not say. They are the caller's claim, not proof."""

    id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    attempt: int = 0
    subscription: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Payload:
    """What the sender meant. `type` is a CloudEvent's type, and empty for data that came bare."""

    data: bytes
    event_id: str
    source: str
    type: str
    at: datetime

    @cached_property
    def key(self) -> str:
        """The same for the same event, whatever message brought it: 32 hex digits, fit for a
        document's id."""
        return hashlib.sha256(json.dumps([self.source, self.event_id]).encode()).hexdigest()[:32]


class CloudEventLike(Protocol):
    """What functions-framework hands over, as far as it is used here."""

    @property
    def data(self) -> Any: ...

    def get(self, key: str, default: Any = None) -> Any: ...


def check_outgoing(data: bytes, attributes: Mapping[str, str]) -> None:
    """Raise `BusError` for what Pub/Sub would not take. Every bus asks, since the emulator takes
    more than the service.

    Source: Pub/Sub, "Quotas and limits".
    """
    if not data and not attributes:
        raise BusError("a message needs data or an attribute")
    if len(data) > MAX_OUTGOING_BYTES:
        raise BusError(
            f"the data takes {len(data):,} bytes, at most {MAX_OUTGOING_BYTES:,} are possible"
        )
    if len(attributes) > validators.MAX_NAMES:
        raise BusError(
            f"there are {len(attributes)} attributes, at most {validators.MAX_NAMES} are possible"
        )
    for name, text in attributes.items():
        if not 0 < len(name.encode()) <= 256 or name.startswith("goog"):
            raise BusError(
                f"the attribute name {name[:80]!r} must have 1 to 256 bytes and not begin with goog"
            )
        if len(text.encode()) > 1024:
            raise BusError(
                f"the attribute {name} takes {len(text.encode()):,} bytes, at most 1,024 are"
                " possible"
            )


def received(event: CloudEventLike, project: str = "") -> Message:
    """The Pub/Sub message in an event, however it came: through Eventarc in binary or structured
    form, or as a push request that functions-framework converted, which drops the subscription and
    takes the topic from the URL.

    One that names the topic or the subscription of another project than `project`, if that is
    given, is not for this function. Source: googleapis/google-cloudevents, MessagePublishedData;
    Pub/Sub, "Push subscriptions"."""
    data = event.data
    try:
        kind = event.get("type")
        if kind != PUBLISHED:
            raise ValueError(f"the event's type must be {PUBLISHED}, not {display(kind)}")
        if not isinstance(data, dict) or not isinstance(data.get("message"), dict):
            raise ValueError("the event does not hold a Pub/Sub message")
        message = data["message"]
        return Message(
            id=validators.identifier(
                message.get("messageId") or message.get("message_id"), "messageId"
            ),
            data=validators.base64_bytes(message.get("data") or "", "data", MAX_DATA_BYTES),
            attributes=validators.texts_by_name(message.get("attributes"), "attributes"),
            published_at=validators.moment(
                message.get("publishTime") or message.get("publish_time") or event.get("time"),
                "publishTime",
            ),
            attempt=validators.count(data.get("deliveryAttempt")),
            subscription=_of(
                project, validators.resource_name(data.get("subscription") or "", "subscriptions")
            ),
            topic=_of(project, _topic(event.get("source"))),
        )
    except ValueError as error:
        raise Unreadable(f"not a Pub/Sub message: {error}", _raw(data)) from error


def payload(message: Message) -> Payload:
    """The data in a message and who it is from: a CloudEvent in structured or binary mode, or bare
    data.

    A CloudEvent is the same event as another with its source and id, through whatever message it
    came. Bare data has no identity but the message's own. Source: CloudEvents, "Google Cloud
    Pub/Sub Protocol Binding"."""
    content_type = message.attributes.get("content-type", "").strip().lower()
    try:
        if content_type.startswith(_STRUCTURED):
            return _structured(message, content_type)
        if any(name in message.attributes for name in _CONTEXT):
            context = {
                name.removeprefix("ce-"): text
                for name, text in message.attributes.items()
                if name.startswith("ce-")
            }
            return _event(context, message.data, content_type, message.published_at)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not a CloudEvent that Slipway takes: {error}", message.data) from error
    return Payload(message.data, message.id, _SERVICE.rstrip("/"), "", message.published_at)


def _structured(message: Message, content_type: str) -> Payload:
    if content_type.partition(";")[0].strip() != f"{_STRUCTURED}+json":
        raise ValueError(f"content-type must be {_STRUCTURED}+json, not {display(content_type)}")
    envelope = validators.json_object(message.data)
    if "data" in envelope and "data_base64" in envelope:
        raise ValueError("the envelope has both data and data_base64")
    if "data_base64" in envelope:
        data = validators.base64_bytes(envelope["data_base64"], "data_base64", MAX_DATA_BYTES)
    else:
        data = json.dumps(envelope.get("data")).encode()
    return _event(
        envelope, data, str(envelope.get("datacontenttype", "")).lower(), message.published_at
    )


def _event(
    context: Mapping[str, Any], data: bytes, content_type: str, published_at: datetime
) -> Payload:
    for name in ("id", "source", "type", "specversion"):
        text = context.get(name)
        if (
            not isinstance(text, str)
            or not 0 < len(text) <= _MAX_CONTEXT_TEXT
            or not text.isprintable()
        ):
            raise ValueError(
                f"{name} must be a text of 1 to {_MAX_CONTEXT_TEXT} printable characters, not"
                f" {display(text)}"
            )
    if context["specversion"] != "1.0":
        raise ValueError(f"specversion must be 1.0, not {display(context['specversion'])}")
    if context["type"] not in (RELEASE_TYPE, COMMAND_TYPE):
        raise ValueError(
            f"type must be {RELEASE_TYPE} or {COMMAND_TYPE}, not {display(context['type'])}"
        )
    if content_type and content_type.partition(";")[0].strip() != "application/json":
        raise ValueError(f"the data must be application/json, not {display(content_type)}")
    at = validators.moment(context["time"], "time") if context.get("time") else published_at
    return Payload(data, context["id"], context["source"], context["type"], at)


def _of(project: str, name: str) -> str:
    """The full name, if it may be one of this project: by its id, or by a number, which nobody here
    knows."""
    theirs = name.split("/")[1] if name else project
    if project and theirs != project and not theirs.isdecimal():
        raise ValueError(f"it is from project {theirs}, and this is {project}")
    return name


def _topic(source: Any) -> str:
    if not isinstance(source, str) or not source.startswith(_SERVICE):
        raise ValueError(f"source must be {_SERVICE}projects/P/topics/T, not {display(source)}")
    return validators.resource_name(source.removeprefix(_SERVICE), "topics")


def _raw(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return json.dumps(data).encode()
    except (TypeError, ValueError, RecursionError):
        return f"({type(data).__name__}, not printable)".encode()
