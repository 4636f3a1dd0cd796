"""Parses what arrives from the bus: the Pub/Sub message in an event, and the payload in the
message. No I/O.

Two envelopes are nested. `parse_message` opens the outer one, in which the platform delivers a
Pub/Sub message to a function. `parse_payload` opens the inner one, a CloudEvent that the sender may
have put around the data. Neither trusts its input: functions-framework does not authenticate
callers and passes on whatever they send. Input that cannot be parsed raises `Unreadable` and no
other exception, so that a handler can record it and acknowledge the message.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from infra.bus import validators
from infra.bus.validators import display
from rollout.deferred import dataclass
from rollout.spec.strict_json import read_json
from rollout.visible import is_visible

RELEASE_TYPE = "io.slipway.model.release.v1"
COMMAND_TYPE = "io.slipway.model.command.v1"
IGNORED_TYPE = "io.slipway.artifact.ignored.v1"
PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
MAX_DATA_BYTES = 256 * 1024
"""The most data that is parsed: far more than any event has, far less than a document can hold."""

_SERVICE = "//pubsub.googleapis.com/"
_STRUCTURED = "application/cloudevents"
_CONTEXT = ("ce-specversion", "ce-id", "ce-source", "ce-type")
_MAX_CONTEXT_TEXT = 1024


@dataclass(frozen=True)
class Oversize:
    """A request of whose body only the beginning of its long texts is left."""

    size: int
    sha256: str


class Unreadable(Exception):
    """The input cannot be parsed. `raw` holds it, cut off after `MAX_DATA_BYTES`, and `size` is how
    long it was. `id`: that of the message, if it could be read.
    """

    def __init__(self, why: str, raw: bytes, size: int = 0, id: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.raw = raw[:MAX_DATA_BYTES]
        self.size = size or len(raw)
        self.id = id

    @property
    def key(self) -> str:
        """The same for each delivery of the same message."""
        return self.id or hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True)
class Message:
    """A Pub/Sub message. `attempt` counts deliveries from 1, or is 0 if deliveries are not counted.
    `subscription` and `topic` are full names (`projects/P/topics/T`), or empty if the envelope does
    not name them. The caller may have made them up.
    """

    id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    attempt: int = 0
    subscription: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Payload:
    """What the sender sent. `type` is the type of the CloudEvent, or empty if there is none."""

    data: bytes
    event_id: str
    source: str
    type: str
    at: datetime

    @cached_property
    def key(self) -> str:
        """Identifies the event, whichever message carried it: 32 hex digits, valid as a document
        id.
        """
        return hashlib.sha256(json.dumps([self.source, self.event_id]).encode()).hexdigest()[:32]


class CloudEventLike(Protocol):
    """The part of functions-framework's CloudEvent that is used here."""

    @property
    def data(self) -> Any: ...

    def get(self, key: str, default: Any = None) -> Any: ...


def parse_message(event: CloudEventLike, project: str = "") -> Message:
    """The Pub/Sub message in an event. Eventarc delivers it in binary or structured form;
    functions-framework also converts push requests, dropping the subscription and taking the topic
    from the URL.

    If `project` is given, a topic or subscription of another project is refused. Source:
    googleapis/google-cloudevents, MessagePublishedData; Pub/Sub, "Push subscriptions".
    """
    _refuse_oversize(event)
    data = event.data
    try:
        kind = event.get("type")
        if kind != PUBLISHED:
            raise ValueError(f"the event's type must be {PUBLISHED}, not {display(kind)}")
        if not isinstance(data, dict) or not isinstance(data.get("message"), dict):
            raise ValueError("the event does not hold a Pub/Sub message")
        message = data["message"]
        return Message(
            id=validators.parse_identifier(
                message.get("messageId") or message.get("message_id"), "messageId"
            ),
            data=validators.decode_base64(message.get("data") or "", "data", MAX_DATA_BYTES),
            attributes=validators.parse_attributes(message.get("attributes"), "attributes"),
            published_at=validators.parse_timestamp(
                message.get("publishTime") or message.get("publish_time") or event.get("time"),
                "publishTime",
            ),
            attempt=validators.parse_attempt(data.get("deliveryAttempt")),
            subscription=_check_project(
                project,
                validators.parse_resource_name(data.get("subscription") or "", "subscriptions"),
            ),
            topic=_check_project(project, _parse_topic(event.get("source"))),
        )
    except ValueError as error:
        raise Unreadable(f"not a Pub/Sub message: {error}", _raw_bytes(data)) from error


def parse_event(event: CloudEventLike) -> tuple[str, datetime, Any]:
    """The id, time and data of an event that Eventarc delivers without Pub/Sub."""
    _refuse_oversize(event)
    try:
        at = validators.parse_timestamp(event.get("time"), "time")
        return validators.parse_identifier(event.get("id"), "id"), at, event.data
    except ValueError as error:
        raise Unreadable(f"not an event of Eventarc: {error}", _raw_bytes(event.data)) from error


def _refuse_oversize(event: CloudEventLike) -> None:
    """What was cut is refused, with the beginning of the message's data if that can be found."""
    oversize = getattr(event, "oversize", None)
    if not isinstance(oversize, Oversize):
        return
    id, raw = "", _raw_bytes(event.data)
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        message = event.data["message"]
        id = validators.parse_identifier(message.get("messageId"), "messageId")
        text = message["data"]
        raw = base64.b64decode(text[: len(text) // 4 * 4])
    raise Unreadable(
        f"the data may have {MAX_DATA_BYTES // 1024} KiB, and the request has {oversize.size:,}"
        f" bytes (SHA-256 {oversize.sha256}); put what is large where the artifact is, and name it",
        raw,
        oversize.size,
        id,
    )


def parse_payload(message: Message) -> Payload:
    """The payload of a message: a CloudEvent in structured or binary mode, or data without one.

    Two CloudEvents with the same source and id are the same event, whichever messages carried them.
    Data without a CloudEvent is identified by its message. Source: CloudEvents, "Google Cloud
    Pub/Sub Protocol Binding".
    """
    content_type = message.attributes.get("content-type", "").strip().lower()
    try:
        if content_type.startswith(_STRUCTURED):
            return _parse_structured(message, content_type)
        if any(name in message.attributes for name in _CONTEXT):
            context = {
                name.removeprefix("ce-"): text
                for name, text in message.attributes.items()
                if name.startswith("ce-")
            }
            return _parse_event(context, message.data, content_type, message.published_at)
    except (ValueError, RecursionError) as error:
        why = "the JSON is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Unreadable(f"not a CloudEvent that Slipway accepts: {why}", message.data) from error
    return Payload(message.data, message.id, _SERVICE.rstrip("/"), "", message.published_at)


def _parse_structured(message: Message, content_type: str) -> Payload:
    if content_type.partition(";")[0].strip() != f"{_STRUCTURED}+json":
        raise ValueError(f"content-type must be {_STRUCTURED}+json, not {display(content_type)}")
    envelope = read_json(message.data)
    if not isinstance(envelope, dict):
        raise ValueError(f"a JSON object is expected, not {display(envelope)}")
    if "data" in envelope and "data_base64" in envelope:
        raise ValueError("the envelope has both data and data_base64")
    if "data_base64" in envelope:
        data = validators.decode_base64(envelope["data_base64"], "data_base64", MAX_DATA_BYTES)
    else:
        data = json.dumps(envelope.get("data")).encode()
    return _parse_event(
        envelope, data, str(envelope.get("datacontenttype", "")).lower(), message.published_at
    )


def _parse_event(
    context: Mapping[str, Any], data: bytes, content_type: str, published_at: datetime
) -> Payload:
    for name in ("id", "source", "type", "specversion"):
        text = context.get(name)
        if (
            not isinstance(text, str)
            or not 0 < len(text) <= _MAX_CONTEXT_TEXT
            or not is_visible(text)
        ):
            raise ValueError(
                f"{name} must be text of 1 to {_MAX_CONTEXT_TEXT} printable characters, not"
                f" {display(text)}"
            )
    if context["specversion"] != "1.0":
        raise ValueError(f"specversion must be 1.0, not {display(context['specversion'])}")
    if context["type"] not in (RELEASE_TYPE, COMMAND_TYPE, IGNORED_TYPE):
        raise ValueError(
            f"type must be {RELEASE_TYPE} or {COMMAND_TYPE}, not {display(context['type'])}"
        )
    if content_type and content_type.partition(";")[0].strip() != "application/json":
        raise ValueError(f"the data must be application/json, not {display(content_type)}")
    at = (
        validators.parse_timestamp(context["time"], "time") if context.get("time") else published_at
    )
    return Payload(data, context["id"], context["source"], context["type"], at)


def _check_project(project: str, name: str) -> str:
    """The full name, unless it names another project's id. A project number is accepted: this
    project's own number is not known here.
    """
    named = name.split("/")[1] if name else project
    if project and named != project and not named.isdecimal():
        raise ValueError(f"it is from project {named}, and this is {project}")
    return name


def _parse_topic(source: Any) -> str:
    if not isinstance(source, str) or not source.startswith(_SERVICE):
        raise ValueError(f"source must be {_SERVICE}projects/P/topics/T, not {display(source)}")
    return validators.parse_resource_name(source.removeprefix(_SERVICE), "topics")


def _raw_bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return json.dumps(data).encode()
    except (TypeError, ValueError, RecursionError):
        return f"({type(data).__name__}, not printable)".encode()
